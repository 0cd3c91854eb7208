//! The kernels of a search for medoids: rendered text, arguments, parameter structs.

use bytemuck::{Pod, Zeroable};
use minijinja::context;

use crate::device::{Binding, Kernel};
use crate::error::Result;
use crate::tile::product::render::render;

/// Medoids whose changes `gain` keeps in workgroup memory at a time.
const PLACES: u32 = 1024;

/// Where a search is.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
pub(crate) struct Control {
    pub next: u32,
    pub since: u32,
    pub together: u32,
    pub swaps: u32,
    pub found: u32,
    pub candidate: u32,
    pub place: u32,
    pub padding: u32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub(crate) struct GainParams {
    pub objects: u32,
    pub places: u32,
    pub held: u32,
    pub first: u32,
    pub end: u32,
    pub across: u32,
    pub unit: i32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub(crate) struct ChooseParams {
    pub candidates: u32,
    pub end: u32,
    pub most_together: u32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub(crate) struct BringParams {
    pub objects: u32,
    pub first: u32,
    pub end: u32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub(crate) struct ExchangeParams {
    pub objects: u32,
    pub places: u32,
    pub unit: i32,
}

const GAIN: &[Binding] = &[
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::ReadWrite,
    Binding::Uniform,
];
const CHOOSE: &[Binding] =
    &[Binding::Read, Binding::ReadWrite, Binding::ReadWrite, Binding::ReadWrite, Binding::Uniform];
const BRING: &[Binding] = &[Binding::Read, Binding::Read, Binding::ReadWrite, Binding::Uniform];
const EXCHANGE: &[Binding] = &[
    Binding::Read,
    Binding::Read,
    Binding::ReadWrite,
    Binding::ReadWrite,
    Binding::ReadWrite,
    Binding::ReadWrite,
    Binding::Uniform,
];

/// Judges candidates: the next few in an eager search, all of a window otherwise.
pub(crate) fn gain_kernel(eager: bool) -> Result<Kernel> {
    let source = render("kmedoids/gain.wgsl", context! { eager, places => PLACES })?;
    Ok(Kernel { name: "gain", entry: "gain", source, bindings: GAIN })
}

/// Takes the first, or the best, of the swaps that improve.
pub(crate) fn choose_kernel(eager: bool) -> Result<Kernel> {
    let source = render("kmedoids/choose.wgsl", context! { eager })?;
    Ok(Kernel { name: "choose", entry: "choose", source, bindings: CHOOSE })
}

/// Copies the column of the candidate that was taken.
pub(crate) fn bring_kernel() -> Result<Kernel> {
    let source = render("kmedoids/bring.wgsl", context! {})?;
    Ok(Kernel { name: "bring", entry: "bring", source, bindings: BRING })
}

/// Brings the objects up to date.
pub(crate) fn exchange_kernel() -> Result<Kernel> {
    let source = render("kmedoids/exchange.wgsl", context! {})?;
    Ok(Kernel { name: "exchange", entry: "exchange", source, bindings: EXCHANGE })
}

/// Every variant, with what distinguishes it.
#[cfg(feature = "test-hooks")]
pub(crate) fn kernels() -> Result<Vec<(String, Kernel)>> {
    Ok(vec![
        ("eager".to_owned(), gain_kernel(true)?),
        ("best".to_owned(), gain_kernel(false)?),
        ("eager".to_owned(), choose_kernel(true)?),
        ("best".to_owned(), choose_kernel(false)?),
        (String::new(), bring_kernel()?),
        (String::new(), exchange_kernel()?),
    ])
}
