//! Two vectors as one, where kernels want more lanes than a register has.

use half::{bf16, f16};

use super::{HalfVector, Vector, methods};

/// The lanes of the first, then those of the second.
#[derive(Clone, Copy)]
pub(crate) struct Pair<V>(V, V);

impl<V: Vector> Vector for Pair<V> {
    const LANES: usize = 2 * V::LANES;
    methods! {
        fn splat(value: f32) -> Self { Self(V::splat(value), V::splat(value)) }
        fn load(from: *const f32) -> Self { Self(V::load(from), V::load(from.add(V::LANES))) }
        fn store(self: Self, to: *mut f32) {{
            self.0.store(to);
            self.1.store(to.add(V::LANES));
        }}
        fn add_product(self: Self, a: Self, b: Self) -> Self {
            Self(self.0.add_product(a.0, b.0), self.1.add_product(a.1, b.1))
        }
        fn add(self: Self, other: Self) -> Self { Self(self.0.add(other.0), self.1.add(other.1)) }
        fn sub(self: Self, other: Self) -> Self { Self(self.0.sub(other.0), self.1.sub(other.1)) }
        fn min(self: Self, other: Self) -> Self { Self(self.0.min(other.0), self.1.min(other.1)) }
        fn max(self: Self, other: Self) -> Self { Self(self.0.max(other.0), self.1.max(other.1)) }
        fn select_less(a: Self, b: Self, yes: Self, no: Self) -> Self {
            Self(V::select_less(a.0, b.0, yes.0, no.0), V::select_less(a.1, b.1, yes.1, no.1))
        }
        fn at_most(a: Self, b: Self) -> u32 { V::at_most(a.0, b.0) | V::at_most(a.1, b.1) << V::LANES }
    }
}

impl<V: HalfVector> HalfVector for Pair<V> {
    methods! {
        fn load_f16(from: *const f16) -> Self { Self(V::load_f16(from), V::load_f16(from.add(V::LANES))) }
        fn load_bf16(from: *const bf16) -> Self { Self(V::load_bf16(from), V::load_bf16(from.add(V::LANES))) }
        fn store_f16(self: Self, to: *mut f16) {{
            self.0.store_f16(to);
            self.1.store_f16(to.add(V::LANES));
        }}
        fn store_bf16(self: Self, to: *mut bf16) {{
            self.0.store_bf16(to);
            self.1.store_bf16(to.add(V::LANES));
        }}
        fn add_fused(self: Self, a: Self, b: Self) -> Self {
            Self(self.0.add_fused(a.0, b.0), self.1.add_fused(a.1, b.1))
        }
    }
}
