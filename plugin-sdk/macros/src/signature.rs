//! What the arguments of a function are, told by their types.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{FnArg, GenericArgument, PathArguments, Result, ReturnType, Signature, Type};

use crate::args::static_type;

/// What an argument is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Arg {
    /// The receiver of a method.
    State,
    /// A row (for a join: left, then right); `true` where it is taken by reference.
    Row(usize, bool),
    /// `&Config`.
    Config,
    /// `&mut Output<_>`.
    Output,
    /// `&Group<'_>`.
    Group,
    /// `&mut Context<'_>`.
    Context,
    /// `Timer`.
    Timer,
}

/// A function, understood.
pub struct Shape {
    pub args: Vec<Arg>,
    pub rows: Vec<Type>,
    pub config: Option<Type>,
    /// `E` of `&mut Output<E>`, or what the function returns.
    pub emit: Option<Type>,
    returns: Returns,
}

enum Returns {
    Nothing,
    Plain,
    Result,
    Option,
    ResultOption,
}

/// The last word of a path type, and its first type argument.
fn last_segment(ty: &Type) -> Option<(String, Option<&Type>)> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    let first = match &last.arguments {
        PathArguments::AngleBracketed(args) => args.args.iter().find_map(|a| match a {
            GenericArgument::Type(t) => Some(t),
            _ => None,
        }),
        _ => None,
    };
    Some((last.ident.to_string(), first))
}

/// `T` of `Option<T>`, or none.
pub fn option_of(ty: &Type) -> Option<&Type> {
    match last_segment(ty) {
        Some((name, inner)) if name == "Option" => inner,
        _ => None,
    }
}

impl Shape {
    /// Understands a signature that takes `rows` rows. `emits`: what it returns may be a value put out.
    pub fn of(sig: &Signature, rows: usize, emits: bool) -> Result<Shape> {
        let mut shape = Shape {
            args: Vec::new(),
            rows: Vec::new(),
            config: None,
            emit: None,
            returns: Returns::Nothing,
        };
        let mut has_output = false;
        for input in &sig.inputs {
            let ty = match input {
                FnArg::Receiver(_) => {
                    shape.args.push(Arg::State);
                    continue;
                }
                FnArg::Typed(typed) => &*typed.ty,
            };
            let (by_ref, mutable, inner) = match ty {
                Type::Reference(r) => (true, r.mutability.is_some(), &*r.elem),
                other => (false, false, other),
            };
            let segment = last_segment(inner);
            let word = segment.as_ref().map_or("", |(w, _)| w.as_str());
            let arg = match word {
                "Output" if mutable => {
                    has_output = true;
                    let bytes = || syn::parse_quote!(::wasmill_plugin::Bytes);
                    shape.emit = Some(
                        segment
                            .and_then(|(_, e)| e.map(static_type))
                            .unwrap_or_else(bytes),
                    );
                    Arg::Output
                }
                "Context" if mutable => Arg::Context,
                "Group" if by_ref => Arg::Group,
                "Timer" => Arg::Timer,
                _ if shape.rows.len() < rows => {
                    shape.rows.push(static_type(inner));
                    Arg::Row(shape.rows.len() - 1, by_ref)
                }
                _ if by_ref && !mutable && shape.config.is_none() => {
                    shape.config = Some(inner.clone());
                    Arg::Config
                }
                _ => {
                    return Err(syn::Error::new_spanned(
                        ty,
                        "not understood: expected the record, `&Config` or `&mut Output<_>`",
                    ));
                }
            };
            shape.args.push(arg);
        }
        if shape.rows.len() < rows {
            return Err(syn::Error::new_spanned(
                &sig.ident,
                "a record is missing among the arguments",
            ));
        }
        if emits && !has_output {
            shape.understand_return(sig)?;
        }
        Ok(shape)
    }

    fn understand_return(&mut self, sig: &Signature) -> Result<()> {
        let ReturnType::Type(_, ty) = &sig.output else {
            return Err(syn::Error::new_spanned(
                &sig.ident,
                "puts nothing out: take `out: &mut Output<_>` or return a value",
            ));
        };
        let (value, returns) = match last_segment(ty) {
            Some((name, Some(inner))) if name == "Result" => match option_of(inner) {
                Some(value) => (value, Returns::ResultOption),
                None => (inner, Returns::Result),
            },
            Some((name, Some(inner))) if name == "Option" => (inner, Returns::Option),
            _ => (&**ty, Returns::Plain),
        };
        self.emit = Some(static_type(value));
        self.returns = returns;
        Ok(())
    }

    /// The type of the config.
    pub fn config_type(&self) -> TokenStream {
        match &self.config {
            Some(ty) => quote!(#ty),
            None => quote!(::wasmill_plugin::NoConfig),
        }
    }

    /// The type of the values put out.
    pub fn emit_type(&self) -> TokenStream {
        match &self.emit {
            Some(ty) => quote!(#ty),
            None => quote!(::wasmill_plugin::Bytes),
        }
    }

    /// The arguments of a call, from variables `state`, `rows[i]`, `config`, `out`, `group`, `context`, `timer`.
    pub fn call(&self, function: TokenStream, rows: &[&str]) -> TokenStream {
        let args = self.args.iter().map(|arg| match arg {
            Arg::State => quote!(state),
            Arg::Row(i, by_ref) => {
                let row = syn::Ident::new(rows[*i], proc_macro2::Span::call_site());
                if *by_ref { quote!(&#row) } else { quote!(#row) }
            }
            Arg::Config => quote!(config),
            Arg::Output => quote!(out),
            Arg::Group => quote!(group),
            Arg::Context => quote!(context),
            Arg::Timer => quote!(timer),
        });
        quote!(#function(#(#args),*))
    }

    /// The call, and what it returns put out: an expression of type `Result<(), Reject>`.
    pub fn emitting_call(&self, function: TokenStream, rows: &[&str]) -> TokenStream {
        let call = self.call(function, rows);
        match self.returns {
            Returns::Nothing => quote!(::wasmill_plugin::Outcome::<()>::outcome(#call)),
            Returns::Plain => quote!({ out.emit(#call); Ok(()) }),
            Returns::Result => quote!({ out.emit(#call?); Ok(()) }),
            Returns::Option => quote!({ if let Some(value) = #call { out.emit(value); } Ok(()) }),
            Returns::ResultOption => {
                quote!({ if let Some(value) = #call? { out.emit(value); } Ok(()) })
            }
        }
    }
}
