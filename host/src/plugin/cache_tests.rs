use super::*;

struct Setup {
    dir: tempfile::TempDir,
    engine: wasmtime::Engine,
}

const PLUGIN: [u8; 32] = [7; 32];
const CODE: &[u8] = b"some machine code";

impl Setup {
    fn new() -> Setup {
        Setup {
            dir: tempfile::tempdir().unwrap(),
            engine: wasmtime::Engine::default(),
        }
    }

    fn cache(&self) -> CodeCache {
        CodeCache::open(&CacheDir::At(self.dir.path().join("cache")))
            .expect("the folder can be written")
    }

    fn get(&self) -> Option<Vec<u8>> {
        self.cache().get(&PLUGIN, &self.engine)
    }

    /// Puts code, changes the file, and asks for it again.
    fn after(&self, change: impl FnOnce(&mut Vec<u8>)) -> Option<Vec<u8>> {
        let cache = self.cache();
        cache.put(&PLUGIN, &self.engine, CODE);
        let path = cache.path(&PLUGIN, &self.engine);
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
        self.get()
    }
}

#[test]
fn code_comes_back_whole() {
    let s = Setup::new();
    assert_eq!(s.get(), None);
    assert_eq!(s.after(|_| {}).as_deref(), Some(CODE));
    assert_eq!(s.cache().get(&[8; 32], &s.engine), None, "another plugin");
}

#[test]
fn a_flipped_bit_anywhere_means_compiling() {
    let s = Setup::new();
    let cache = s.cache();
    cache.put(&PLUGIN, &s.engine, CODE);
    let len = fs::read(cache.path(&PLUGIN, &s.engine)).unwrap().len();
    // Magic, version, host, engine, plugin, length, code, MAC: every byte.
    for at in 0..len {
        assert_eq!(
            s.after(|bytes| bytes[at] ^= 1 << (at % 8)),
            None,
            "byte {at} of {len}"
        );
    }
}

#[test]
fn a_torn_or_longer_file_means_compiling() {
    let s = Setup::new();
    for keep in 0..80 {
        assert_eq!(s.after(|bytes| bytes.truncate(keep)), None, "{keep} bytes");
    }
    assert_eq!(s.after(|bytes| bytes.push(0)), None);
    assert_eq!(s.after(Vec::clear), None);
}

#[test]
fn code_under_another_key_is_not_ours() {
    let s = Setup::new();
    s.cache().put(&PLUGIN, &s.engine, CODE);
    let key = s.dir.path().join("cache/key");
    fs::write(&key, [1; 32]).unwrap();
    assert_eq!(s.get(), None);
}

#[test]
fn code_of_other_settings_is_another_file() {
    let s = Setup::new();
    s.cache().put(&PLUGIN, &s.engine, CODE);
    let mut config = wasmtime::Config::new();
    config.epoch_interruption(true);
    let other = wasmtime::Engine::new(&config).unwrap();
    assert_eq!(s.cache().get(&PLUGIN, &other), None);
    // And under its name it is refused, since the header names the settings.
    let cache = s.cache();
    fs::copy(cache.path(&PLUGIN, &s.engine), cache.path(&PLUGIN, &other)).unwrap();
    assert_eq!(cache.get(&PLUGIN, &other), None);
}

#[test]
fn a_key_that_others_can_read_turns_the_cache_off() {
    let s = Setup::new();
    s.cache();
    let key = s.dir.path().join("cache/key");
    assert_eq!(
        fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(CodeCache::open(&CacheDir::At(s.dir.path().join("cache"))).is_none());
}

#[test]
fn a_link_in_place_of_code_is_not_followed() {
    let s = Setup::new();
    let cache = s.cache();
    cache.put(&PLUGIN, &s.engine, CODE);
    let path = cache.path(&PLUGIN, &s.engine);
    let elsewhere = s.dir.path().join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    assert_eq!(s.get(), None);
}

#[test]
fn no_folder_no_cache_no_error() {
    assert!(CodeCache::open(&CacheDir::Off).is_none());
    assert!(CodeCache::open(&CacheDir::At("/proc/nowhere".into())).is_none());
}

#[test]
fn hmac_is_that_of_rfc_4231() {
    // Test case 2 of RFC 4231, its key padded with zeros, which HMAC does itself.
    let mut key = [0; 32];
    key[..4].copy_from_slice(b"Jefe");
    assert_eq!(
        hex(&hmac(&key, b"what do ya want for nothing?")),
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    );
}
