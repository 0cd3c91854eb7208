use tilefold::{Device, Table, kmeans};
fn main() -> tilefold::Result<()> {
    let a: Vec<String> = std::env::args().collect();
    let x = Table::open(&a[1])?;
    let c = Table::open(&a[2])?;
    let tilefold::Points::F32(c) = c.points() else { panic!() };
    let dev = Device::select(&a[3])?;
    let it: usize = a[4].parse().unwrap();
    for _ in 0..3 {
        let t = std::time::Instant::now();
        let p = kmeans::Params::new(c.nrows()).warm_start(c.mapv(f64::from)).max_iter(it).tol(0.0);
        let f = kmeans::fit(&dev, x.points(), &p)?;
        println!(
            "{} n_iter {} inertia {} {:.3}s upload {:.3} iterate {:.3} recheck {:.5}",
            f.device,
            f.n_iter,
            f.inertia,
            t.elapsed().as_secs_f64(),
            f.seconds.upload,
            f.seconds.iterate,
            f.rechecked
        );
        println!("  changed {:?}", f.history.iter().map(|h| h.changed).collect::<Vec<_>>());
        if let Some(out) = a.get(5) {
            tilefold::data::write_npy(out, f.labels.view())?;
        }
    }
    Ok(())
}
