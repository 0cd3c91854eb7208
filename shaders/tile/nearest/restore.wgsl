// Computes  nearest[row] = before for each row of a list: what a tier changed is as it was.
// Mapping   One invocation owns one row; workgroups count along x, then y.
// Bounds    Rows beyond the end do nothing.
// Numerics  None.

{{ RestoreParams }}

{{ Listed }}

@group(0) @binding(0) var<storage, read> list: array<Listed>;
@group(0) @binding(1) var<storage, read_write> nearest: array<u32>;
@group(0) @binding(2) var<uniform> params: RestoreParams;

@compute @workgroup_size(256)
fn restore(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>,
           @builtin(num_workgroups) workgroups: vec3<u32>) {
    let entry = (workgroup.y * workgroups.x + workgroup.x) * 256u + local;
    if entry < params.rows {
        nearest[list[entry].row] = list[entry].before;
    }
}
