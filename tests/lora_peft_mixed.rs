//! A mixed batch of PEFT's (`scripts/make_lora_mixed_fixtures.py`): ranks 4 to 64, an adapter that lacks layers, rows of
//! the base model. Groups of projections in one step give the updates that PEFT gives.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use ndarray::Array2;
use safetensors::SafeTensors;
use serde::Deserialize;
use tilefold::Device;
use tilefold::lora::{Factors, Group, Module, Pool, PoolParams, Routes, Sizes, Values, read_adapter};

use crate::support::backends::on_every_backend;
use crate::support::compare::{Mismatch, Wide, close, must};
use crate::support::lora::{Batch, activations, expected};

on_every_backend!(updates_are_those_of_peft, rows_of_another_adapter_are_noticed);

const GROUPS: [&[&str]; 4] = [
    &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    &["self_attn.o_proj"],
    &["mlp.gate_proj", "mlp.up_proj"],
    &["mlp.down_proj"],
];

/// Who goes through what.
#[derive(Deserialize)]
struct Owners {
    adapters: Vec<String>,
    rows: Vec<Option<String>>,
}

/// A layer's input and update in the mixed forward.
struct Layer {
    module: Module,
    x: Array2<f32>,
    delta: Vec<f64>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/lora/mixed")
}

fn owners() -> Owners {
    serde_json::from_slice(&std::fs::read(folder().join("batch.json")).unwrap()).unwrap()
}

fn routes(owners: &Owners) -> Routes {
    let slot = |name: &String| owners.adapters.iter().position(|other| other == name).unwrap();
    Routes::of_slots(owners.rows.iter().map(|name| name.as_ref().map(|name| slot(name) as u32)))
}

fn layer(tensors: &SafeTensors<'_>, name: &str) -> Layer {
    let name = format!("model.layers.0.{name}");
    let [x, delta] = ["x", "delta"].map(|ending| tensors.tensor(&format!("{name}.{ending}")).unwrap());
    let values = x.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
    Layer {
        module: Module { name, inputs: x.shape()[1], outputs: delta.shape()[1] },
        x: Array2::from_shape_vec((x.shape()[0], x.shape()[1]), values.collect()).unwrap(),
        delta: delta
            .data()
            .chunks_exact(8)
            .map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap()))
            .collect(),
    }
}

fn layers() -> Vec<Vec<Layer>> {
    let bytes = std::fs::read(folder().join("batch.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    GROUPS.iter().map(|names| names.iter().map(|name| layer(&tensors, name)).collect()).collect()
}

/// The bound of [`expected`], and one rounding more: PEFT's scale is an f64, ours its nearest f32.
fn bounds(layer: &Layer, slots: Vec<Factors>, routes: &Routes, y: &Array2<f32>) -> Vec<f64> {
    let batch = Batch { slots, routes: routes.clone(), x: layer.x.clone(), y: y.clone() };
    let bounds = expected(&batch).bounds;
    bounds.iter().zip(&layer.delta).map(|(bound, delta)| bound + 2.0_f64.powi(-24) * delta.abs()).collect()
}

/// Applies all groups with `routes` and compares every element of every layer with y plus PEFT's update for the rows of
/// the fixture.
fn compare(device: &Device, routes: &Routes) -> Result<(), Mismatch> {
    let (owners, layers) = (owners(), layers());
    let groups = GROUPS.iter().zip(&layers).map(|(names, layers)| {
        Group::new(names[0], layers.iter().map(|layer| layer.module.clone()).collect())
    });
    let pool = Pool::new(device, PoolParams::new(groups.collect()).budget_bytes(4 << 20)).unwrap();
    let adapters: Vec<_> =
        owners.adapters.iter().map(|name| read_adapter(folder().join(name)).unwrap().adapter).collect();
    for (name, adapter) in owners.adapters.iter().zip(&adapters) {
        pool.register(name, adapter.clone()).unwrap();
    }
    let names: Vec<&str> = owners.adapters.iter().map(String::as_str).collect();
    let step = pool.lease(&names).unwrap().step(routes).unwrap();
    for (group, layers) in layers.iter().enumerate() {
        let x = &layers[0].x;
        assert!(layers.iter().all(|layer| layer.x == x), "modules of a group read the same rows");
        let before: Vec<Array2<f32>> =
            layers.iter().map(|layer| activations(x.nrows(), layer.module.outputs, 9)).collect();
        let mut after = before.clone();
        let mut views: Vec<_> = after.iter_mut().map(|array| array.view_mut()).collect();
        step.apply(group, x.view(), &mut views).unwrap();
        for ((layer, before), after) in layers.iter().zip(&before).zip(&after) {
            let Module { name, inputs, outputs } = &layer.module;
            let without = || {
                let sizes = Sizes { rank: 0, inputs: *inputs, outputs: *outputs };
                Factors::from_values(sizes, Values::new::<f32>(vec![]), Values::new::<f32>(vec![]), 1.0)
            };
            let slots = adapters
                .iter()
                .map(|adapter| adapter.modules.get(name).cloned().unwrap_or_else(|| without().unwrap()));
            // The bounds are those of PEFT's batch, whatever routes were applied.
            let bounds = bounds(layer, slots.collect(), &self::routes(&owners), before);
            let sums: Vec<f64> =
                before.iter().zip(&layer.delta).map(|(y, delta)| f64::from(*y) + delta).collect();
            let got: Vec<Wide> = after.iter().map(|value| Wide(f64::from(*value))).collect();
            close(&sums, &got, |index| bounds[index])?;
        }
    }
    Ok(())
}

fn updates_are_those_of_peft(device: &Device) {
    must(compare(device, &routes(&owners())));
}

/// One row with the adapter of the next rank, one row of the base model with an adapter, one without its adapter.
fn rows_of_another_adapter_are_noticed(device: &Device) {
    let owners = owners();
    for (row, slot) in [(4, Some(1)), (0, Some(3)), (8, None)] {
        let right = routes(&owners);
        let slots = (0..right.rows()).map(|at| right.of_row(at).first().map(|route| route.slot));
        let wrong =
            Routes::of_slots(slots.enumerate().map(|(at, right)| if at == row { slot } else { right }));
        assert!(compare(device, &wrong).is_err(), "row {row} as {slot:?} was not noticed");
    }
}
