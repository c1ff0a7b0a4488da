//! No files. The engine can spill to disk, so its code names the file functions of the C library, and the component would
//! import `wasi:filesystem`, which no plugin is given. What the C library would import is defined here instead: there is no
//! directory to open anything in, and what takes an open file is never reached.

/// No directory was opened beforehand: writes an empty list to where the answer goes.
#[unsafe(no_mangle)]
extern "C" fn __wasm_import_filesystem_preopens_get_directories(answer: *mut [u32; 2]) {
    // SAFETY: the C library passes the address of a list, two words.
    unsafe { answer.write([4, 0]) }
}

macro_rules! never {
    ($($name:ident($($kind:ty),*);)*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $name($(_: $kind),*) {
            std::process::abort()
        }
    )*};
}

never! {
    __wasm_import_filesystem_descriptor_drop(i32);
    __wasm_import_filesystem_directory_entry_stream_drop(i32);
    __wasm_import_filesystem_method_descriptor_read_via_stream(i32, i64, i32);
    __wasm_import_filesystem_method_descriptor_write_via_stream(i32, i64, i32);
    __wasm_import_filesystem_method_descriptor_append_via_stream(i32, i32);
    __wasm_import_filesystem_method_descriptor_get_flags(i32, i32);
    __wasm_import_filesystem_method_descriptor_read_directory(i32, i32);
    __wasm_import_filesystem_method_descriptor_create_directory_at(i32, i32, i32, i32);
    __wasm_import_filesystem_method_descriptor_stat(i32, i32);
    __wasm_import_filesystem_method_descriptor_stat_at(i32, i32, i32, i32, i32);
    __wasm_import_filesystem_method_descriptor_open_at(i32, i32, i32, i32, i32, i32, i32);
    __wasm_import_filesystem_method_descriptor_remove_directory_at(i32, i32, i32, i32);
    __wasm_import_filesystem_method_descriptor_unlink_file_at(i32, i32, i32, i32);
    __wasm_import_filesystem_method_descriptor_metadata_hash(i32, i32);
    __wasm_import_filesystem_method_descriptor_metadata_hash_at(i32, i32, i32, i32, i32);
    __wasm_import_filesystem_method_directory_entry_stream_read_directory_entry(i32, i32);
}
