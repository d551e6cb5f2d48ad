//! `#[transform]`, `#[filter]` and `#[join]`: attributes of plain functions.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{ItemFn, Result};

use crate::args::{Args, doc_line, kebab};
use crate::signature::{Shape, option_of};

/// `impl Export` with the list entry.
pub fn export(
    target: TokenStream,
    name: &str,
    kind: TokenStream,
    doc: &str,
    config: TokenStream,
    open: TokenStream,
) -> TokenStream {
    quote! {
        impl ::wasmill_plugin::Export for #target {
            const FUNCTION: ::wasmill_plugin::Function = ::wasmill_plugin::Function {
                name: #name,
                kind: ::wasmill_plugin::contract::FunctionKind::#kind,
                doc: #doc,
                schema: <#config as ::wasmill_plugin::Schema>::schema,
                open: ::wasmill_plugin::run::#open::<#target>,
            };
        }
    }
}

/// The function as it is, a type of the same name that stands for it, and the given impl.
fn with_type(
    function: &ItemFn,
    args: &Args,
    kind: TokenStream,
    open: TokenStream,
    shape: &Shape,
    body: TokenStream,
) -> Result<TokenStream> {
    let (ident, vis) = (&function.sig.ident, &function.vis);
    // Lifetimes may have names: a row's type is taken as a family, whatever they are.
    let generics = &function.sig.generics;
    if generics.type_params().next().is_some() || generics.const_params().next().is_some() {
        return Err(syn::Error::new_spanned(
            generics,
            "a plugin's function has no type parameters: the host could not choose them",
        ));
    }
    let name = args
        .name
        .as_ref()
        .map_or_else(|| kebab(ident), |n| n.value());
    let export = export(
        quote!(#ident),
        &name,
        kind,
        &doc_line(&function.attrs),
        shape.config_type(),
        open,
    );
    // Its only call is in a loop over rows, where it belongs: each function has a check of its own.
    let inline = !function.attrs.iter().any(|a| a.path().is_ident("inline"));
    let inline = inline.then(|| quote!(#[inline]));
    Ok(quote! {
        #inline
        #function
        #[doc(hidden)]
        #[allow(non_camel_case_types, dead_code)]
        #vis enum #ident {}
        #body
        #export
    })
}

pub fn transform(args: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let args = Args::parse(
        args,
        &[
            "name",
            "ports",
            "sets_keys",
            "sets_timestamps",
            "max_records",
        ],
    )?;
    let function: ItemFn = syn::parse2(item)?;
    let shape = Shape::of(&function.sig, 1, true)?;
    let ident = &function.sig.ident;
    let (config, emit, input) = (shape.config_type(), shape.emit_type(), &shape.rows[0]);
    let (ports, traits, max) = (&args.ports, args.traits(false), args.max_records);
    let call = shape.emitting_call(quote!(#ident), &["row"]);
    let body = quote! {
        impl ::wasmill_plugin::run::TransformFn for #ident {
            type Config = #config;
            type Input = #input;
            type Emit = #emit;
            const PORTS: &'static [&'static str] = &[#(#ports),*];
            fn traits() -> ::wasmill_plugin::contract::Traits {
                #traits
            }
            const MAX_RECORDS: u32 = #max;
            #[inline]
            #[allow(unused_variables)]
            fn call(
                config: &Self::Config,
                row: <Self::Input as ::wasmill_plugin::Input>::Row<'_>,
                out: &mut ::wasmill_plugin::Output<Self::Emit>,
            ) -> ::core::result::Result<(), ::wasmill_plugin::Reject> {
                #call
            }
        }
    };
    with_type(
        &function,
        &args,
        quote!(Transform),
        quote!(open_transform),
        &shape,
        body,
    )
}

pub fn filter(args: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let args = Args::parse(args, &["name", "max_records"])?;
    let function: ItemFn = syn::parse2(item)?;
    let shape = Shape::of(&function.sig, 1, false)?;
    let ident = &function.sig.ident;
    let (config, input, max) = (shape.config_type(), &shape.rows[0], args.max_records);
    let call = shape.call(quote!(#ident), &["row"]);
    let body = quote! {
        impl ::wasmill_plugin::run::FilterFn for #ident {
            type Config = #config;
            type Input = #input;
            const MAX_RECORDS: u32 = #max;
            #[inline]
            #[allow(unused_variables)]
            fn call(
                config: &Self::Config,
                row: <Self::Input as ::wasmill_plugin::Input>::Row<'_>,
            ) -> ::core::result::Result<bool, ::wasmill_plugin::Reject> {
                ::wasmill_plugin::Outcome::<bool>::outcome(#call)
            }
        }
    };
    with_type(
        &function,
        &args,
        quote!(Filter),
        quote!(open_filter),
        &shape,
        body,
    )
}

pub fn join(args: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let args = Args::parse(args, &["name"])?;
    let function: ItemFn = syn::parse2(item)?;
    let shape = Shape::of(&function.sig, 2, true)?;
    let ident = &function.sig.ident;
    let (config, emit) = (shape.config_type(), shape.emit_type());
    let side = |i: usize| match option_of(&shape.rows[i]) {
        Some(row) => quote!(::core::option::Option<#row>),
        None => {
            let row = &shape.rows[i];
            quote!(::wasmill_plugin::run::Required<#row>)
        }
    };
    let (left, right) = (side(0), side(1));
    let call = shape.emitting_call(quote!(#ident), &["left", "right"]);
    let body = quote! {
        impl ::wasmill_plugin::run::JoinFn for #ident {
            type Config = #config;
            type Left = #left;
            type Right = #right;
            type Emit = #emit;
            #[inline]
            #[allow(unused_variables)]
            fn call(
                config: &Self::Config,
                left: <Self::Left as ::wasmill_plugin::run::Side>::Row<'_>,
                right: <Self::Right as ::wasmill_plugin::run::Side>::Row<'_>,
                out: &mut ::wasmill_plugin::Output<Self::Emit>,
            ) -> ::core::result::Result<(), ::wasmill_plugin::Reject> {
                #call
            }
        }
    };
    with_type(
        &function,
        &args,
        quote!(Join),
        quote!(open_join),
        &shape,
        body,
    )
}
