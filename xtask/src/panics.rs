//! Leaves out of the module what only a panic needs.
//!
//! A panic of the engine is a trap: nobody prints its message, and its page starts another
//! engine. rustc, which cannot know, compiles messages and all that formats them. Here the
//! calls that panic become the trap itself, and wasm-bindgen drops what nothing calls any more.
//! So do calls that nothing ever comes to, and where in the source a panic would be is emptied.

use anyhow::{Result, bail};
use rustc_demangle::demangle;
use walrus::ir::{Instr, InstrLocId, Unreachable, Value, VisitorMut, dfs_pre_order_mut};
use walrus::{ConstExpr, DataKind, FunctionId, FunctionKind, Module};

/// The standard library's functions that panic and do nothing else, by the ends of their paths.
const ENDS: [&str; 13] = [
    "::assert_failed",
    "::capacity_overflow",
    "::expect_failed",
    "::handle_alloc_error",
    "::len_mismatch_fail",
    "::panic_access_error",
    "::panic_already_borrowed",
    "::panic_already_mutably_borrowed",
    "::panic_on_ord_violation",
    "::raw_vec::handle_error",
    "::slice_error_fail",
    "::slice_index_fail",
    "::unwrap_failed",
];

/// BLAKE3 without SIMD, which is there for processors that have none: `Platform::detect` chooses
/// the functions of the target's own feature always.
const UNREACHED: &str = "blake3::portable::";

/// Replaces all calls that panic.
pub fn become_traps(module: &mut Module) -> Result<()> {
    let panics: Vec<FunctionId> = module
        .funcs
        .iter()
        .filter(|function| function.name.as_deref().is_some_and(panics))
        .map(|function| function.id())
        .collect();
    if panics.is_empty() {
        bail!("no function of the standard library that panics is in the module");
    }
    let mut calls = Calls(panics);
    for (_, function) in module.funcs.iter_local_mut() {
        let entry = function.entry_block();
        dfs_pre_order_mut(&mut calls, function, entry);
    }
    Ok(())
}

/// Has nothing written by all that `Debug` writes. Only messages of panics have it; a linker keeps
/// it for the tables of `dyn Debug` that those were given. (`clippy::use_debug` keeps it out of
/// what is told; a library that uses it all the same is a text shorter.)
pub fn forget_debug(module: &mut Module) -> Result<()> {
    let mut emptied = 0;
    let funcs = module.funcs.iter().filter(|function| {
        let name = function.name.as_deref();
        name.is_some_and(|name| path(name).ends_with(" as core::fmt::Debug>::fmt"))
    });
    for id in funcs.map(|function| function.id()).collect::<Vec<_>>() {
        let FunctionKind::Local(function) = &mut module.funcs.get_mut(id).kind else {
            continue;
        };
        let mut body = function.builder_mut().func_body();
        body.instrs_mut().clear();
        // `Ok(())`.
        body.i32_const(0);
        emptied += 1;
    }
    if emptied == 0 {
        bail!("no `Debug` is in the module");
    }
    Ok(())
}

/// Empties what says where in the source a panic is: the paths of files, and the places in them
/// (`core::panic::Location`: path, its length, line, column). A linker keeps all of it.
pub fn forget_places(module: &mut Module) -> Result<()> {
    let mut segments = Vec::new();
    for data in module.data.iter() {
        if let DataKind::Active {
            offset: ConstExpr::Value(Value::I32(start)),
            ..
        } = data.kind
        {
            segments.push((start as u32 as usize, data.value.clone(), data.id()));
        }
    }
    let mut forgotten = Vec::new();
    for (start, bytes, _) in &segments {
        for at in (0..bytes.len()).step_by(PLACE_ALIGN) {
            let Some(place) = bytes.get(at..at + PLACE) else {
                break;
            };
            let [path, length, line, column] = words(place);
            let path = path..path.saturating_add(length);
            let is_path = segments.iter().any(|(start, bytes, _)| {
                let within = path
                    .start
                    .checked_sub(*start)
                    .zip(path.end.checked_sub(*start));
                within
                    .and_then(|(from, to)| bytes.get(from..to))
                    .is_some_and(|text| text.ends_with(b".rs") && text.is_ascii())
            });
            if is_path && line > 0 && column > 0 {
                forgotten.push(start + at..start + at + PLACE);
                forgotten.push(path);
            }
        }
    }
    if forgotten.is_empty() {
        bail!("no place of a panic is in the module's data");
    }
    for range in forgotten {
        for (start, bytes, _) in &mut segments {
            if let Some(from) = range.start.checked_sub(*start)
                && let Some(part) = bytes.get_mut(from..range.end - *start)
            {
                part.fill(0);
            }
        }
    }
    for (_, bytes, id) in segments {
        module.data.get_mut(id).value = bytes;
    }
    Ok(())
}

/// Four words of 32 bits.
const PLACE: usize = 16;
const PLACE_ALIGN: usize = 4;

fn words(place: &[u8]) -> [usize; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(place.chunks_exact(4)) {
        *word = bytes
            .iter()
            .rev()
            .fold(0, |word, byte| word << 8 | usize::from(*byte));
    }
    words
}

/// The functions whose calls are replaced.
struct Calls(Vec<FunctionId>);

impl VisitorMut for Calls {
    fn visit_instr_mut(&mut self, instr: &mut Instr, _: &mut InstrLocId) {
        // The arguments may stay on the stack: after a trap it holds whatever is wanted.
        if matches!(instr, Instr::Call(call) if self.0.contains(&call.func)) {
            *instr = Unreachable {}.into();
        }
    }
}

/// The path of a function, without the numbers that tell copies of it apart.
fn path(name: &str) -> String {
    let path = format!("{:#}", demangle(name));
    path.trim_end_matches(|end: char| end == '.' || end.is_ascii_digit())
        .to_owned()
}

fn panics(name: &str) -> bool {
    let path = path(name);
    let path = path.trim_start_matches('<');
    let is_standard = ["alloc::", "core::", "std::"]
        .iter()
        .any(|root| path.starts_with(root));
    let is_end = |end: &&str| path.ends_with(*end);
    path.starts_with(UNREACHED)
        || is_standard && (path.starts_with("core::panicking::") || ENDS.iter().any(is_end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_paths_are_emptied_and_nothing_else() {
        let path = b"src/a.rs";
        let text = b"a.rs.txt";
        let mut bytes = [&path[..], text].concat();
        for word in [1024, path.len() as u32, 7, 9, 1032, text.len() as u32, 7, 9] {
            bytes.extend(word.to_le_bytes());
        }
        let kept = bytes.clone();
        let mut module = Module::default();
        let memory = module.memories.add_local(false, false, 1, None, None);
        let offset = ConstExpr::Value(Value::I32(1024));
        let data = module.data.add(DataKind::Active { memory, offset }, bytes);
        forget_places(&mut module).unwrap();
        let left = &module.data.get(data).value;
        assert_eq!(left[..path.len()], [0; 8]);
        assert_eq!(left[8..16], kept[8..16]);
        assert_eq!(left[16..32], [0; 16]);
        assert_eq!(left[32..], kept[32..]);
        assert!(forget_places(&mut module).is_err());
    }

    #[test]
    fn what_panics_is_known_by_its_name() {
        for name in [
            "_RNvNtCsgXGp5Oqx2Ny_4core9panicking9panic_fmt",
            "_RINvNtCsgXGp5Oqx2Ny_4core9panicking13assert_failedjjEB4_",
            "_RNvNvMs_NtCs5cOc02OMXlo_5alloc3vecINtB6_3VecppE11swap_remove13assert_failed",
            "_ZN4core6result13unwrap_failed17h0123456789abcdefE",
            "_ZN6blake38portable17compress_in_place17h8a3217b9a014d64aE",
        ] {
            assert!(panics(name), "{name}");
        }
        for name in [
            "main",
            "_ZN15shoal_peer_core5links5Links4fail17h0cfdca7033ceba9fE",
            "_ZN4core6result19Result$LT$T$C$E$GT$6expect17h374b4ad1eb2de408E",
        ] {
            assert!(!panics(name), "{name}");
        }
    }
}
