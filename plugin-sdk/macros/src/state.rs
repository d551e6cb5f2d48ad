//! `#[derive(State)]`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Data, DeriveInput, Fields, Result};

/// The pattern that binds all fields to `f0`, `f1` …, and the expression that reads them in order.
fn parts(fields: &Fields) -> (TokenStream, Vec<syn::Ident>, TokenStream) {
    let names: Vec<_> = (0..fields.len()).map(|i| format_ident!("f{i}")).collect();
    let read = quote!(::wasmill_plugin::State::read(bytes)?);
    match fields {
        Fields::Named(named) => {
            let idents: Vec<_> = named.named.iter().map(|f| f.ident.as_ref()).collect();
            (
                quote!({ #(#idents: #names),* }),
                names.clone(),
                quote!({ #(#idents: #read),* }),
            )
        }
        Fields::Unnamed(_) => {
            let reads = names.iter().map(|_| &read);
            (
                quote!(( #(#names),* )),
                names.clone(),
                quote!(( #(#reads),* )),
            )
        }
        Fields::Unit => (quote!(), names, quote!()),
    }
}

pub fn derive(item: TokenStream) -> Result<TokenStream> {
    let input: DeriveInput = syn::parse2(item)?;
    let ident = &input.ident;
    if !input.generics.params.is_empty() {
        return Err(syn::Error::new_spanned(
            &input.generics,
            "a State owns what it holds: no generics, no lifetimes",
        ));
    }
    let (write, read) = match &input.data {
        Data::Struct(data) => {
            let (pattern, names, make) = parts(&data.fields);
            (
                quote! {
                    let #ident #pattern = self;
                    #(::wasmill_plugin::State::write(#names, out);)*
                },
                quote!(Some(#ident #make)),
            )
        }
        Data::Enum(data) => {
            if data.variants.len() > 256 {
                return Err(syn::Error::new_spanned(ident, "at most 256 variants"));
            }
            let (mut writes, mut reads) = (vec![], vec![]);
            for (i, variant) in data.variants.iter().enumerate() {
                let (number, name) = (i as u8, &variant.ident);
                let (pattern, names, make) = parts(&variant.fields);
                writes.push(quote! {
                    #ident::#name #pattern => {
                        out.push(#number);
                        #(::wasmill_plugin::State::write(#names, out);)*
                    }
                });
                reads.push(quote!(#number => Some(#ident::#name #make)));
            }
            (
                quote!(match self { #(#writes)* }),
                quote!(match <u8 as ::wasmill_plugin::State>::read(bytes)? { #(#reads,)* _ => None }),
            )
        }
        Data::Union(_) => {
            return Err(syn::Error::new_spanned(
                ident,
                "State is for structs and enums",
            ));
        }
    };
    Ok(quote! {
        impl ::wasmill_plugin::State for #ident {
            #[inline]
            fn write(&self, out: &mut ::std::vec::Vec<u8>) {
                #write
            }
            #[inline]
            fn read(bytes: &mut &[u8]) -> ::core::option::Option<Self> {
                #read
            }
        }
    })
}
