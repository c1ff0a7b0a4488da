//! No files. The engine can spill to disk, so its code names the file functions of the C library, and the component would
//! import `wasi:filesystem`, which no plugin is given. What the C library would import is defined here instead. None of it
//! is ever reached: the engine is told not to spill, and no SQL names a file.
#![expect(
    unsafe_code,
    reason = "an unmangled name may clash with another, and these are meant to"
)]

macro_rules! never {
    ($($name:ident($($kind:ty),*);)*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $name($(_: $kind),*) {
            std::process::abort()
        }
    )*};
}

never! {
    __wasm_import_filesystem_preopens_get_directories(i32);
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
