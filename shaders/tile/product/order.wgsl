{#- Which tile a workgroup owns: neighbours in the order of launch share operands in the device's cache.
    Expects  `workgroup`, `row_tiles`, `column_tiles` (tiles of the dispatch, which has one workgroup for each), and
             params.group_rows, at least 1.
    Gives    `row_place`, `column_place`: all columns of the first group_rows row tiles, down before across, then those
             of the next. -#}
    let number = workgroup.y * {{ tiles_across }} + workgroup.x;
    let group_tiles = params.group_rows * column_tiles;
    let group_first = number / group_tiles * params.group_rows;
    let group_height = min(row_tiles - group_first, params.group_rows);
    let row_place = group_first + number % group_tiles % group_height;
    let column_place = number % group_tiles / group_height;
