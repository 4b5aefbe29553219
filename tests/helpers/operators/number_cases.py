"""Cases of arithmetic, signals, quantization, strings and sequences."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import helper

from operator_case import Case, Generate, Rng, extents, floats, given, maybe, pick, trimmed


def modulo(rng: Rng, opset: int) -> Case:
    if rng.random() < 0.5:
        kind = pick(rng, np.int8, np.int32, np.int64, np.uint8)
        a = rng.integers(-100 if np.dtype(kind).kind == "i" else 0, 100, (3, 4)).astype(kind)
        b = rng.integers(1, 9, pick(rng, (3, 4), (4,))) * (
            pick(rng, 1, -1) if np.dtype(kind).kind == "i" else 1
        )
        return Case("Mod", opset, [a, b.astype(kind)], given(fmod=maybe(rng, 1)))
    a, b = floats(rng, 3, 4) * 10, floats(rng, 4)
    b[0], a[0, 0] = pick(rng, 0, np.inf, -np.inf, 1), pick(rng, 1, np.inf, np.nan, -0.0)
    return Case("Mod", opset, [a, b], {"fmod": 1})


def bit_shift(rng: Rng, opset: int) -> Case:
    kind = pick(rng, np.uint8, np.uint32, np.uint64)
    x = rng.integers(0, 200, (3, 4)).astype(kind)
    y = rng.integers(0, 8, pick(rng, (3, 4), (4,))).astype(kind)
    return Case("BitShift", opset, [x, y], {"direction": pick(rng, "LEFT", "RIGHT")})


def cumulate(op_type: str) -> Generate:
    def generate(rng: Rng, opset: int) -> Case:
        x = floats(rng, *extents(rng, pick(rng, 1, 2, 3)))
        axis = np.array(rng.integers(-x.ndim, x.ndim), pick(rng, np.int64, np.int32))
        attrs = given(exclusive=maybe(rng, 1), reverse=maybe(rng, 1))
        return Case(op_type, opset, [x, pick(rng, axis, axis[None])], attrs)

    return generate


EQUATIONS: tuple[tuple[str, tuple[tuple[int, ...], ...]], ...] = (
    ("ij,jk->ik", ((2, 3), (3, 4))),
    ("ij, jk", ((2, 3), (3, 4))),
    ("bij,bjk->bik", ((2, 2, 3), (2, 3, 4))),
    ("...ij,...jk->...ik", ((2, 2, 3), (2, 3, 4))),
    ("...ij->...ji", ((2, 3, 4),)),
    ("ii->i", ((3, 3),)),
    ("ii", ((3, 3),)),
    ("ij->", ((3, 4),)),
    ("i,j->ij", ((3,), (4,))),
    ("ijk,jil->kl", ((2, 3, 4), (3, 2, 5))),
    ("ij,kj->ik", ((2, 3), (4, 3))),
    ("a,b,c->cab", ((2,), (3,), (4,))),
    ("bhid, bhjd -> bhij", ((1, 2, 3, 4), (1, 2, 5, 4))),
)


def einsum(rng: Rng, opset: int) -> Case:
    equation, shapes = EQUATIONS[int(rng.integers(len(EQUATIONS)))]
    return Case(
        "Einsum", opset, [floats(rng, *s) for s in shapes], {"equation": equation}, atol=2e-6
    )


def dft(rng: Rng, opset: int) -> Case:
    real = rng.random() < 0.5
    x = floats(rng, *extents(rng, pick(rng, 2, 3), 2, 6), 1 if real else 2)
    axis = int(rng.integers(1 if opset < 20 else 0, x.ndim - 1)) if x.ndim > 2 else 0
    inverse = maybe(rng, 1)
    onesided = maybe(rng, 1) if real and not inverse else None
    length = maybe(rng, np.array(int(rng.integers(1, 8))))
    attrs = given(inverse=inverse, onesided=onesided)
    if opset < 20:
        return Case(
            "DFT", opset, trimmed([x, length]), attrs | {"axis": axis}, rtol=1e-4, atol=1e-5
        )
    inputs = [x, length, maybe(rng, np.array(axis), 0.8)]
    return Case("DFT", opset, trimmed(inputs), attrs, rtol=1e-4, atol=1e-5)


def stft(rng: Rng, opset: int) -> Case:
    length = int(rng.integers(2, 8))
    x = floats(rng, 2, length + int(rng.integers(0, 9)), 1)
    window = maybe(rng, rng.random(length, np.float32))
    inputs = [x, np.array(int(rng.integers(1, 4))), window, np.array(length)]
    if window is not None and rng.random() < 0.4:
        inputs = inputs[:3]
    return Case(
        "STFT", opset, inputs, given(onesided=maybe(rng, pick(rng, 0, 1))), rtol=1e-4, atol=1e-5
    )


def mel_weight_matrix(rng: Rng, opset: int) -> Case:
    lower = float(rng.uniform(0, 400))
    inputs = [
        np.array(int(rng.integers(1, 12))),
        np.array(int(rng.choice([16, 32, 64, 100]))),
        np.array(int(rng.choice([8000, 16000]))),
        np.array(lower, np.float32),
        np.array(lower + rng.uniform(500, 3000), np.float32),
    ]
    return Case("MelWeightMatrix", opset, inputs)


def window_function(op_type: str) -> Generate:
    def generate(rng: Rng, opset: int) -> Case:
        attrs = given(
            periodic=maybe(rng, pick(rng, 0, 1)), output_datatype=maybe(rng, pick(rng, 1, 11))
        )
        return Case(op_type, opset, [np.array(int(rng.integers(2, 12)))], attrs, atol=2e-6)

    return generate


def _kind(rng: Rng, opset: int) -> type:
    return pick(rng, np.uint8, np.int8, *((np.uint16, np.int16) if opset >= 21 else ()))  # type: ignore[no-any-return]


def quantize_linear(rng: Rng, opset: int) -> Case:
    x = floats(rng, 2, 4, 6) * pick(rng, 0.05, 0.5)
    x.flat[:6] = [0.005, 0.015, -0.025, 50, -50, 0.045]  # ties, and what saturates
    axis, block, scale, zero = _parameters(rng, opset, x)
    attrs = given(axis=axis, block_size=block)
    return Case("QuantizeLinear", opset, trimmed([x, scale, zero]), attrs)


def _parameters(
    rng: Rng, opset: int, x: np.ndarray
) -> tuple[int | None, int | None, np.ndarray, np.ndarray | None]:
    how = pick(rng, "all", "axis" if opset >= 13 else "all", "block" if opset >= 21 else "all")
    axis, block, shape = None, None, ()
    if how != "all":
        axis = pick(rng, 0, 1, 2, -1)
        shape = (x.shape[axis],)
    if how == "block":
        block = 2
        shape = tuple(n // 2 if a == axis % 3 else n for a, n in enumerate(x.shape))
    scale = rng.choice(np.array([0.01, 0.02, 0.04], np.float32), shape)
    kind = _kind(rng, opset)
    info = np.iinfo(kind)
    zero = maybe(rng, np.asarray(rng.integers(info.min, info.max, shape), kind), 0.8)
    return axis, block, np.asarray(scale), zero


def dequantize_linear(rng: Rng, opset: int) -> Case:
    x = np.zeros((2, 4, 6))
    axis, block, scale, zero = _parameters(rng, opset, x)
    kind = zero.dtype if zero is not None else _kind(rng, opset)
    info = np.iinfo(kind)
    x = rng.integers(info.min, info.max + 1, x.shape).astype(kind)
    return Case(
        "DequantizeLinear", opset, trimmed([x, scale, zero]), given(axis=axis, block_size=block)
    )


def dynamic_quantize_linear(rng: Rng, opset: int) -> Case:
    x = floats(rng, 3, 5) * 4
    x = pick(rng, x, np.abs(x), -np.abs(x), np.zeros_like(x))
    return Case("DynamicQuantizeLinear", opset, [x], {}, "ysz")


def matmul_integer(rng: Rng, opset: int) -> Case:
    m, k, n = extents(rng, 3)
    batch = tuple(extents(rng, pick(rng, 0, 1, 2), 1, 2))
    a = rng.integers(0, 256, (*batch, m, k)).astype(np.uint8)
    kind = pick(rng, np.uint8, np.int8)
    b = rng.integers(0, 64, (*pick(rng, batch, ()), k, n)).astype(kind)  # see SMALL_WEIGHTS
    az = np.array(rng.integers(256), np.uint8)
    each = b.ndim == 2 and rng.random() < 0.5
    bz = np.asarray(rng.integers(0, 64, n if each else ()), kind)
    return Case("MatMulInteger", opset, trimmed([a, b, maybe(rng, az), maybe(rng, bz)]))


def qlinear_matmul(rng: Rng, opset: int) -> Case:
    m, k, n = extents(rng, 3)
    a = rng.integers(0, 256, (2, m, k)).astype(np.uint8)
    b = rng.integers(-64, 64, (k, n)).astype(np.int8)
    columns = pick(rng, (), (n,))
    inputs = [
        a, np.float32(0.03), np.uint8(rng.integers(256)),
        b, rng.uniform(0.01, 0.05, columns).astype(np.float32), np.zeros(columns, np.int8),
        np.float32(0.05), np.uint8(rng.integers(256)),
    ]  # fmt: skip
    return Case("QLinearMatMul", opset, [np.asarray(v) for v in inputs])


# -- strings ---------------------------------------------------------------------------------------

WORDS = ("monday", "Tuesday", "WEDNESDAY", "friday", "a b", "", "x,y,,z", " lead", "äöÜß", "a  b c")


def numbers_as_texts(rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """(numbers or texts, an array of the type that they become)."""
    kind = pick(rng, np.float32, np.float64, np.int32, np.uint8, np.bool_)
    x = (np.round(rng.standard_normal((2, 4)) * 10.0 ** rng.integers(-2, 7), 2)).astype(kind)
    if np.dtype(kind).kind == "f":
        x[0] = pick(rng, [0, -0.0, 1, 0.1], [np.nan, np.inf, -np.inf, 1e7])
    if rng.random() < 0.5:
        return x, np.array([""], object)
    texts = {"f": ["1.5", "-3", "1e-5", "2E8"], "b": ["1", "0", "1", "0"]}
    texts["f"] = pick(rng, texts["f"], ["NaN", "-INF", "+inf", "INF"])
    found = texts.get(np.dtype(kind).kind, ["15", "7", "100.5", "0"])
    return np.array(found, object), np.zeros(1, kind)


def cast(rng: Rng, opset: int) -> Case:
    x, like = numbers_as_texts(rng)
    to = helper.np_dtype_to_tensor_dtype(like.dtype)
    return Case("Cast", opset, [x], {"to": to})


def cast_like(rng: Rng, opset: int) -> Case:
    return Case("CastLike", opset, [*numbers_as_texts(rng)])


def words(rng: Rng, *shape: int) -> np.ndarray:
    return np.asarray(rng.choice(np.array(WORDS, object), shape))


def string_normalizer(rng: Rng, opset: int) -> Case:
    plain = np.array(
        [w for w in WORDS if w.isascii() and w], object
    )  # ORT wants locales for others
    x = rng.choice(plain, (int(rng.integers(1, 5)),))
    x = pick(rng, x, x[None])
    attrs = given(
        case_change_action=maybe(rng, pick(rng, "NONE", "LOWER", "UPPER")),
        is_case_sensitive=maybe(rng, pick(rng, 0, 1)),
        locale="C",
        stopwords=maybe(rng, ["monday", "tuesday", "FRIDAY"]),
    )
    return Case("StringNormalizer", opset, [np.asarray(x, object)], attrs)


def string_concat(rng: Rng, opset: int) -> Case:
    return Case(
        "StringConcat", opset, [words(rng, 2, 3), words(rng, *pick(rng, (2, 3), (3,), (1,)))]
    )


def string_split(rng: Rng, opset: int) -> Case:
    attrs = given(
        delimiter=maybe(rng, pick(rng, ",", " ", "", "day")), maxsplit=maybe(rng, pick(rng, 1, 2))
    )
    return Case(
        "StringSplit", opset, [words(rng, *extents(rng, pick(rng, 1, 2), 1, 3))], attrs, "yn"
    )


def regex_full_match(rng: Rng, opset: int) -> Case:
    pattern = pick(
        rng, "[a-z]+", r".*day", r"\w*", r"(mon|tues)day", "(?i)friday", r"[^,]*(,[^,]*)+"
    )
    return Case("RegexFullMatch", opset, [words(rng, 3, 2)], {"pattern": pattern})


def tf_idf_vectorizer(rng: Rng, opset: int) -> Case:
    pool, counts = [2, 3, 5, 4, 5, 6, 7, 8, 6, 7], [0, 4]
    x = rng.integers(1, 9, extents(rng, pick(rng, 1, 2), 2, 9))
    attrs = given(
        mode=pick(rng, "TF", "IDF", "TFIDF"),
        min_gram_length=pick(rng, 1, 2),
        max_gram_length=2,
        max_skip_count=int(rng.integers(0, 4)),
        ngram_counts=counts,
        ngram_indexes=[int(i) for i in rng.permutation(7)],
        weights=maybe(rng, [float(w) for w in rng.random(7)]),
    )
    if rng.random() < 0.5:
        letters = [chr(ord("a") + i) for i in range(10)]
        text = np.array([letters[i] for i in x.reshape(-1)], object).reshape(x.shape)
        return Case(
            "TfIdfVectorizer", opset, [text], attrs | {"pool_strings": [letters[i] for i in pool]}
        )
    return Case("TfIdfVectorizer", opset, [x], attrs | {"pool_int64s": pool})


# -- sequences -------------------------------------------------------------------------------------


def _sequence(rng: Rng) -> list[np.ndarray]:
    return [floats(rng, *extents(rng, 2, 1, 3)) for _ in range(int(rng.integers(1, 4)))]


def sequence_construct(rng: Rng, opset: int) -> Case:
    return Case("SequenceConstruct", opset, _sequence(rng))


def sequence_at(rng: Rng, opset: int) -> Case:
    values = _sequence(rng)
    return Case("SequenceAt", opset, [values, np.array(rng.integers(-len(values), len(values)))])


def sequence_insert(rng: Rng, opset: int) -> Case:
    values = _sequence(rng)
    where = maybe(rng, np.array(rng.integers(-len(values), len(values) + 1)))
    return Case("SequenceInsert", opset, trimmed([values, floats(rng, 2, 2), where]))


def sequence_erase(rng: Rng, opset: int) -> Case:
    values = _sequence(rng)
    where = maybe(rng, np.array(rng.integers(-len(values), len(values))))
    return Case("SequenceErase", opset, trimmed([values, where]))


def sequence_length(rng: Rng, opset: int) -> Case:
    return Case("SequenceLength", opset, [_sequence(rng)])


def split_to_sequence(rng: Rng, opset: int) -> Case:
    x = floats(rng, *extents(rng, pick(rng, 1, 2, 3), 2, 6))
    axis = int(rng.integers(-x.ndim, x.ndim))
    n = x.shape[axis]
    first = int(rng.integers(0, n + 1))
    split = pick(rng, None, np.array(int(rng.integers(1, n + 1))), np.array([first, n - first]))
    keep = maybe(rng, pick(rng, 0, 1)) if split is None else None  # ORT heeds it where it must not
    attrs = given(axis=axis, keepdims=keep)
    return Case("SplitToSequence", opset, trimmed([x, split]), attrs)


def concat_from_sequence(rng: Rng, opset: int) -> Case:
    new = maybe(rng, pick(rng, 0, 1))
    shape = extents(rng, 2, 1, 3)
    values = [floats(rng, *shape) for _ in range(3)]
    axis = int(rng.integers(-2 - bool(new), 2 + bool(new)))
    return Case("ConcatFromSequence", opset, [values], given(axis=axis, new_axis=new))


NUMBERS: Mapping[str, Generate] = {
    "BitShift": bit_shift,
    "BlackmanWindow": window_function("BlackmanWindow"),
    "Cast": cast,
    "CastLike": cast_like,
    "ConcatFromSequence": concat_from_sequence,
    "CumProd": cumulate("CumProd"),
    "CumSum": cumulate("CumSum"),
    "DFT": dft,
    "DequantizeLinear": dequantize_linear,
    "DynamicQuantizeLinear": dynamic_quantize_linear,
    "Einsum": einsum,
    "HammingWindow": window_function("HammingWindow"),
    "HannWindow": window_function("HannWindow"),
    "MatMulInteger": matmul_integer,
    "MelWeightMatrix": mel_weight_matrix,
    "Mod": modulo,
    "QLinearMatMul": qlinear_matmul,
    "QuantizeLinear": quantize_linear,
    "RegexFullMatch": regex_full_match,
    "STFT": stft,
    "SequenceAt": sequence_at,
    "SequenceConstruct": sequence_construct,
    "SequenceErase": sequence_erase,
    "SequenceInsert": sequence_insert,
    "SequenceLength": sequence_length,
    "SplitToSequence": split_to_sequence,
    "StringConcat": string_concat,
    "StringNormalizer": string_normalizer,
    "StringSplit": string_split,
    "TfIdfVectorizer": tf_idf_vectorizer,
}
