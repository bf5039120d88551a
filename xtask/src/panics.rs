//! Leaves out of the module what only a panic needs.
//!
//! A panic of the engine is a trap: nobody prints its message, and its page starts another
//! engine. rustc, which cannot know, compiles messages and all that formats them. Here the
//! calls that panic become the trap itself, and wasm-bindgen drops what nothing calls any more.

use anyhow::{Result, bail};
use rustc_demangle::demangle;
use walrus::ir::{Instr, InstrLocId, Unreachable, VisitorMut, dfs_pre_order_mut};
use walrus::{FunctionId, Module};

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

fn panics(name: &str) -> bool {
    let path = format!("{:#}", demangle(name));
    let path = path.trim_start_matches('<');
    let is_standard = ["alloc::", "core::", "std::"]
        .iter()
        .any(|root| path.starts_with(root));
    let is_end = |end: &&str| path.ends_with(*end);
    is_standard && (path.starts_with("core::panicking::") || ENDS.iter().any(is_end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_panics_is_known_by_its_name() {
        for name in [
            "_RNvNtCsgXGp5Oqx2Ny_4core9panicking9panic_fmt",
            "_RINvNtCsgXGp5Oqx2Ny_4core9panicking13assert_failedjjEB4_",
            "_RNvNvMs_NtCs5cOc02OMXlo_5alloc3vecINtB6_3VecppE11swap_remove13assert_failed",
            "_ZN4core6result13unwrap_failed17h0123456789abcdefE",
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
