//! Reaches for what no component is given: each feature pulls in imports that are refused before the component runs.

pub fn touch() {
    #[cfg(feature = "files")]
    drop(std::hint::black_box(std::fs::read_dir("/")));
    #[cfg(feature = "network")]
    drop(std::hint::black_box(std::net::TcpStream::connect(
        "127.0.0.1:80",
    )));
}
