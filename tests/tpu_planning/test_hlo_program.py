"""The reading of compiled programs against XLA's own cost analysis, and against counting by hand."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from stlight_jax import STLight, STLightConfig
from stlight_jax.model.count import count
from stlight_jax.tpu_planning.hlo_program import HloProgram

CONFIG = STLightConfig(
    in_frames=10, out_frames=10, in_channels=1, out_channels=1, hidden_dim=32, depth=6, patch_size=2, depthwise="native"
)
FRAMES = jax.ShapeDtypeStruct((2, 10, 32, 32, 1), jnp.float32)


@functools.cache
def compiled(of, unroll):
    model = STLight(dataclasses.replace(CONFIG, scan_unroll=unroll, rematerialise="nothing"))
    variables = jax.eval_shape(model.init, jax.random.key(0), FRAMES)

    def loss(variables, frames):
        return jnp.mean(jnp.square(model.apply(variables, frames)))

    return jax.jit({"prediction": model.apply, "gradient": jax.grad(loss)}[of]).lower(variables, FRAMES).compile()


@pytest.mark.parametrize("of", ["prediction", "gradient"])
@pytest.mark.parametrize("unroll", [1, 6])
def test_counting_loops_once_equals_xlas_own_analysis(of, unroll):
    program = compiled(of, unroll)
    theirs, ours = program.cost_analysis(), HloProgram(program.as_text()).cost(loops=False)
    assert ours.flops == pytest.approx(theirs["flops"], rel=1e-3)
    assert ours.transcendentals == theirs["transcendentals"]
    assert ours.bytes == pytest.approx(theirs["bytes accessed"], rel=0.1)  # it knows more of what a fusion leaves unread


@pytest.mark.parametrize("of", ["prediction", "gradient"])
def test_a_loop_counts_as_often_as_it_turns(of):
    loop, straight = (HloProgram(compiled(of, unroll).as_text()).cost() for unroll in (1, 6))
    assert loop.product_flops == straight.product_flops
    if of == "prediction":  # a loop's gradient stacks what it keeps, which costs traffic
        assert loop.bytes == pytest.approx(straight.bytes, rel=0.25)


def test_the_networks_products_are_those_of_its_count():
    counted = count(CONFIG, 32, 32)
    products = sum(part.true for part in counted.parts if "norm" not in part.name)
    # Taps beyond the border are no work, and the count has them: the near kernel misses 1 of 3 at both ends, and so on.
    missed = sum(
        CONFIG.depth * CONFIG.hidden_dim * (16 * side) ** 2 - CONFIG.depth * CONFIG.hidden_dim * pairs(side, dilation) ** 2
        for side, dilation in ((CONFIG.near_kernel, 1), (CONFIG.far_kernel, CONFIG.dilation))
    )
    assert HloProgram(compiled("prediction", 1).as_text()).cost().product_flops == 2 * 2 * (products - missed)


def pairs(side, dilation, length=16):
    """Pairs of an output and a tap that meet a pixel, along one side."""
    offsets = [(tap - side // 2) * dilation for tap in range(side)]
    return sum(0 <= place + offset < length for place in range(length) for offset in offsets)


def test_precision_says_how_many_bfloat16_products_a_product_takes():
    x = jax.ShapeDtypeStruct((8, 16), jnp.float32)

    def passes(dtype, precision):
        product = jax.jit(lambda a: jnp.dot(a.astype(dtype), a.astype(dtype).T, precision=precision))
        text = product.lower(x).as_text(dialect="hlo")
        cost = HloProgram(text).cost()
        assert cost.product_flops == 2 * 8 * 8 * 16
        return cost.product_passes / cost.product_flops

    assert passes(jnp.float32, "highest") == 6
    assert passes(jnp.float32, "high") == 3
    assert passes(jnp.float32, "default") == 1
    assert passes(jnp.bfloat16, "highest") == 1


def test_collectives_in_a_loop_are_counted_with_their_sizes():
    mesh = Mesh(np.array(jax.devices()[:4]), ("data",))

    def step(x):
        def turn(total, _):
            return total + jax.lax.psum(x * total, "data"), None

        total, _ = jax.lax.scan(turn, x, None, length=5)
        return jax.lax.all_gather(total, "data")

    shape = jax.ShapeDtypeStruct((8, 3), jnp.float32)
    specs = {"in_specs": PartitionSpec("data"), "out_specs": PartitionSpec(), "check_vma": False}
    text = jax.jit(jax.shard_map(step, mesh=mesh, **specs)).lower(shape).compile().as_text()
    found = sorted((one.kind, one.bytes, one.times) for one in HloProgram(text).collectives())
    assert found == [("all-gather", 4 * 2 * 3 * 4, 1), ("all-reduce", 2 * 3 * 4, 5)]


TPU_TEXT = """HloModule by_hand

%fused (p.0: f32[5,16,100], p.1: s32[]) -> f32[1,16,100] {
  %p.0 = f32[5,16,100]{2,1,0:T(8,128)} parameter(0)
  %p.1 = s32[]{:T(128)} parameter(1)
  %zero = s32[] constant(0)
  ROOT %taken = f32[1,16,100]{2,1,0:T(8,128)} dynamic-slice(%p.0, %p.1, %zero, %zero), dynamic_slice_sizes={1,16,100}
}

%body (state: (s32[], f32[5,16,100], f32[1,16,100])) -> (s32[], f32[5,16,100], f32[1,16,100]) {
  %state = (s32[]{:T(128)}, f32[5,16,100]{2,1,0:T(8,128)}, f32[1,16,100]{2,1,0:T(8,128)S(1)}) parameter(0)
  %i = s32[]{:T(128)S(6)} get-tuple-element(%state), index=0
  %stack = f32[5,16,100]{2,1,0:T(8,128)} get-tuple-element(%state), index=1
  %one = s32[]{:T(128)S(6)} constant(1)
  %next = s32[]{:T(128)S(6)} add(%i, %one)
  %row = f32[1,16,100]{2,1,0:T(8,128)S(1)} fusion(%stack, %i), kind=kLoop, calls=%fused
  ROOT %out = (s32[]{:T(128)}, f32[5,16,100]{2,1,0:T(8,128)}, f32[1,16,100]{2,1,0:T(8,128)S(1)}) tuple(%next, %stack, %row)
}

%condition (state.1: (s32[], f32[5,16,100], f32[1,16,100])) -> pred[] {
  %state.1 = (s32[]{:T(128)}, f32[5,16,100]{2,1,0:T(8,128)}, f32[1,16,100]{2,1,0:T(8,128)S(1)}) parameter(0)
  %five = s32[]{:T(128)} constant(5)
  %i.1 = s32[]{:T(128)} get-tuple-element(%state.1), index=0
  ROOT %more = pred[]{:T(512)} compare(%i.1, %five), direction=LT
}

ENTRY %main (stack.1: f32[5,16,100], row.1: f32[1,16,100]) -> f32[1,16,100] {
  %stack.1 = f32[5,16,100]{2,1,0:T(8,128)} parameter(0)
  %row.1 = f32[1,16,100]{2,1,0:T(8,128)S(1)} parameter(1)
  %start = s32[]{:T(128)} constant(START)
  %begin = (s32[]{:T(128)}, f32[5,16,100]{2,1,0:T(8,128)}, f32[1,16,100]{2,1,0:T(8,128)S(1)}) tuple(%start, %stack.1, %row.1)
  %loop = (s32[]{:T(128)}, f32[5,16,100]{2,1,0:T(8,128)}, f32[1,16,100]{2,1,0:T(8,128)S(1)}) while(%begin), condition=%condition, body=%body
  ROOT %last = f32[1,16,100]{2,1,0:T(8,128)S(1)} get-tuple-element(%loop), index=2
}
"""  # noqa: E501


@pytest.mark.parametrize("start", [0, 2])
def test_tiles_are_padding_and_small_memories_are_free(start):
    # Each turn reads one row of the stack from main memory: 16 x 100 of 16 x 128 float32, and writes it to a small memory.
    cost = HloProgram(TPU_TEXT.replace("START", str(start))).cost()
    turns = 5 - start
    assert cost.bytes == turns * 16 * 128 * 4
    assert cost.padding_bytes == turns * 16 * 28 * 4
    assert cost.flops == turns


@pytest.mark.parametrize(
    ("source", "result"), [("", "S(1)"), ("S(1)", ""), ("", "")], ids=["fetched ahead", "put away", "in main memory"]
)
def test_an_asynchronous_copy_moves_what_it_copies_between_memories(source, result):
    # As libtpu writes it: the result, the operand, a flag.
    given, made = (f"f32[16,128]{{1,0:T(8,128){space}}}" for space in (source, result))
    text = f"""HloModule by_hand

ENTRY %main (x: f32[16,128]) -> f32[16,128] {{
  %x = {given} parameter(0)
  %start = ({made}, {given}, u32[]{{:S(2)}}) copy-start(%x)
  ROOT %done = {made} copy-done(%start)
}}
"""
    assert HloProgram(text).cost().bytes == 16 * 128 * 4 * ((not source) + (not result))


def test_a_loop_of_unknown_length_is_an_error():
    with pytest.raises(ValueError, match="has no trip count for its loop loop"):
        HloProgram(TPU_TEXT.replace("constant(START)", "parameter(2)")).cost()


ASYNCHRONOUS_TEXT = """HloModule by_hand

ENTRY %main (a: f32[8,128], b: bf16[100,2]) -> f32[8,128] {
  %a = f32[8,128]{1,0:T(8,128)} parameter(0)
  %b = bf16[100,2]{1,0} parameter(1)
  START
  ROOT %copied = f32[8,128]{1,0:T(8,128)S(1)} copy(%a)
}
"""


@pytest.mark.parametrize(
    ("start", "kind", "made", "read"),
    [
        ("(f32[8,128]{1,0}, f32[8,128]{1,0:T(8,128)S(0)}, u32[]{:S(2)}, u32[]{:S(2)}) collective-permute-start(%a)",
         "collective-permute", 8 * 128 * 4, 8 * 128 * 4),
        ("(f32[8,128]{1,0}, f32[32,128]{1,0}) all-gather-start(%a)", "all-gather", 32 * 128 * 4, 8 * 128 * 4),
        ("((f32[8,128]{1,0}, bf16[100,2]{1,0}), (f32[32,128]{1,0}, /*index=1*/bf16[400,2]{1,0}), u32[]) "
         "all-gather-start(%a, %b)",
         "all-gather", 32 * 128 * 4 + 400 * 2 * 2, 8 * 128 * 4 + 100 * 2 * 2),
        ("(f32[8,128]{1,0}, bf16[100,2]{1,0}) all-reduce-start(%a, %b), to_apply=%sum",
         "all-reduce", 8 * 128 * 4 + 100 * 2 * 2, 8 * 128 * 4 + 100 * 2 * 2),
    ],
)  # fmt: skip
def test_what_an_asynchronous_collective_makes_is_neither_its_operands_nor_its_flags(start, kind, made, read):
    program = HloProgram(ASYNCHRONOUS_TEXT.replace("START", f"%start = {start}"))
    assert [(one.kind, one.bytes, one.times) for one in program.collectives()] == [(kind, made, 1)]
    assert program.cost().bytes == read + made + 8 * 128 * 4  # and the copy's operand


def test_collectives_in_a_fusion_are_seen():
    text = """HloModule by_hand

%inner (p: f32[8,128]) -> f32[32,128] {
  %p = f32[8,128]{1,0} parameter(0)
  ROOT %gathered = f32[32,128]{1,0} all-gather(%p), dimensions={0}
}

%outer (q: f32[8,128]) -> f32[32,128] {
  %q = f32[8,128]{1,0} parameter(0)
  ROOT %nested = f32[32,128]{1,0} fusion(%q), kind=kLoop, calls=%inner
}

ENTRY %main (a: f32[8,128]) -> f32[32,128] {
  %a = f32[8,128]{1,0} parameter(0)
  ROOT %fused = f32[32,128]{1,0} fusion(%a), kind=kCustom, calls=%outer
}
"""
    program = HloProgram(text)
    assert [(one.kind, one.bytes, one.times) for one in program.collectives()] == [("all-gather", 32 * 128 * 4, 1)]
    assert program.cost().bytes == (8 + 32) * 128 * 4  # once
