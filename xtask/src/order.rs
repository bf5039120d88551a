//! Puts functions that are alike beside each other.
//!
//! What a compressor has seen it writes the shorter the nearer it is, and code made from one
//! generic function, or for things that are done alike, is far apart where its compiler left it.
//! Likeness is estimated by MinHash with one permutation (Li, Owen, Zhang, "One Permutation
//! Hashing", NIPS 2012) of all runs of a few bytes; from each function the order goes on to the
//! most similar of those that are left.

use std::convert::Infallible;

use anyhow::{Context, Result, bail};
use wasm_encoder::reencode::{self, Reencode};
use wasm_encoder::{CodeSection, FunctionSection, Module};
use wasmparser::{CodeSectionReader, FunctionSectionReader, Parser, Payload, TypeRef};

/// Bytes of a run: an instruction or two. Measured: 4 to 6 are alike.
const RUN: usize = 5;
/// Numbers that stand for a function. Measured: from 32 on it is alike.
const SKETCH: usize = 64;

/// The module with its functions in another order and without its custom sections.
pub fn by_likeness(module: &[u8]) -> Result<Vec<u8>> {
    let (imported, bodies) = functions(module)?;
    let order = order(&bodies.iter().map(|body| sketch(body)).collect::<Vec<_>>());
    let mut place = vec![0; order.len()];
    for (new, old) in order.iter().enumerate() {
        place[*old] = new as u32;
    }
    let mut ordered = Module::new();
    Ordered {
        imported,
        order,
        place,
    }
    .parse_core_module(&mut ordered, Parser::new(0), module)
    .context("cannot bring the module's functions into an order")?;
    Ok(ordered.finish())
}

/// How many functions are imported, and the bodies of the others.
fn functions(module: &[u8]) -> Result<(u32, Vec<&[u8]>)> {
    let mut imported = 0;
    let mut bodies = Vec::new();
    for payload in Parser::new(0).parse_all(module) {
        match payload? {
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    if let TypeRef::Func(_) | TypeRef::FuncExact(_) = import?.ty {
                        imported += 1;
                    }
                }
            }
            Payload::CodeSectionEntry(body) => bodies.push(body.as_bytes()),
            _ => {}
        }
    }
    if bodies.is_empty() {
        bail!("the module has no functions");
    }
    Ok((imported, bodies))
}

type Sketch = [u32; SKETCH];

/// The least hash of all runs that fall into each of the bins.
fn sketch(body: &[u8]) -> Sketch {
    let mut least = [u32::MAX; SKETCH];
    for run in body.windows(RUN) {
        // FNV-1a, whose upper bits are the better ones.
        let hash = run.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
        });
        let bin = (hash >> 40) as usize % SKETCH;
        least[bin] = least[bin].min((hash >> 8) as u32);
    }
    least
}

/// The share of bins in which two are the same, of those in which either has something.
fn likeness(one: &Sketch, other: &Sketch) -> f64 {
    let bins = || one.iter().zip(other);
    let filled = bins().filter(|(one, other)| *one.min(other) != &u32::MAX);
    let same = bins().filter(|(one, other)| one == other && **one != u32::MAX);
    same.count() as f64 / filled.count().max(1) as f64
}

/// From the first on to the most similar that is left.
fn order(sketches: &[Sketch]) -> Vec<usize> {
    let mut left: Vec<usize> = (1..sketches.len()).collect();
    let mut order = vec![0];
    while !left.is_empty() {
        let last = &sketches[order[order.len() - 1]];
        let mut best = (0, -1.0);
        for (at, function) in left.iter().enumerate() {
            let likeness = likeness(last, &sketches[*function]);
            if likeness > best.1 {
                best = (at, likeness);
            }
        }
        order.push(left.remove(best.0));
    }
    order
}

/// Writes a module anew, with its functions in `order`.
struct Ordered {
    imported: u32,
    /// Old places by new ones.
    order: Vec<usize>,
    /// New places by old ones.
    place: Vec<u32>,
}

type Encoded<T = ()> = Result<T, reencode::Error<Infallible>>;

impl Reencode for Ordered {
    type Error = Infallible;

    fn function_index(&mut self, old: u32) -> Encoded<u32> {
        Ok(match old.checked_sub(self.imported) {
            Some(own) => self.imported + self.place[own as usize],
            None => old,
        })
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: FunctionSectionReader<'_>,
    ) -> Encoded {
        let types = section.into_iter().collect::<Result<Vec<_>, _>>()?;
        for at in &self.order {
            functions.function(types[*at]);
        }
        Ok(())
    }

    fn parse_code_section(
        &mut self,
        code: &mut CodeSection,
        section: CodeSectionReader<'_>,
    ) -> Encoded {
        let bodies = section.into_iter().collect::<Result<Vec<_>, _>>()?;
        for at in self.order.clone() {
            self.parse_function_body(code, bodies[at].clone())?;
        }
        Ok(())
    }

    fn parse_custom_section(
        &mut self,
        _: &mut Module,
        _: wasmparser::CustomSectionReader<'_>,
    ) -> Encoded {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_encoder::{ExportKind, ExportSection, Function, Instruction, TypeSection, ValType};

    #[test]
    fn functions_that_are_alike_are_neighbours() {
        let texts = ["what a page shares", "0123456789012345", "what a page has"];
        let sketches = texts.map(|text| sketch(text.as_bytes()));
        assert_eq!(order(&sketches), [0, 2, 1]);
        assert_eq!(likeness(&sketches[0], &sketches[0]), 1.0);
    }

    /// Three functions: the first two differ, the last calls the second and is like the first.
    #[test]
    fn calls_exports_and_types_follow_their_functions() {
        let mut types = TypeSection::new();
        types.ty().function([], []);
        types.ty().function([], [ValType::I64]);
        let mut functions = FunctionSection::new();
        let mut code = CodeSection::new();
        let mut function = |kind, instructions: &[Instruction<'_>]| {
            functions.function(kind);
            let mut body = Function::new([]);
            for instruction in instructions {
                body.instruction(instruction);
            }
            body.instruction(&Instruction::End);
            code.function(&body);
        };
        let nothing = vec![Instruction::Nop; 20];
        let mut calling = nothing.clone();
        calling.extend([Instruction::Call(1), Instruction::Drop]);
        function(0, &nothing);
        function(1, &[Instruction::I64Const(0x1234_5678)]);
        function(0, &calling);
        let mut exports = ExportSection::new();
        exports.export("two", ExportKind::Func, 1);
        exports.export("three", ExportKind::Func, 2);
        let mut module = Module::new();
        module.section(&types).section(&functions);
        module.section(&exports).section(&code);

        let ordered = by_likeness(&module.finish()).unwrap();
        walrus::Module::from_buffer(&ordered).unwrap();
        let (imported, bodies) = super::functions(&ordered).unwrap();
        assert_eq!(imported, 0);
        // `call 2`, `drop`, `end`: the one of a number is the last now.
        assert!(bodies[1].ends_with(&[0x10, 2, 0x1a, 0x0b]));
        let again = by_likeness(&ordered).unwrap();
        assert_eq!(again, ordered);
    }
}
