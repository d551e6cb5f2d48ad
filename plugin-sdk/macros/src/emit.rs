//! `#[derive(Emit)]`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{DeriveInput, Result};

use crate::args::{pairs, plain_struct, static_type};

pub fn derive(item: TokenStream) -> Result<TokenStream> {
    let input: DeriveInput = syn::parse2(item)?;
    let (fields, has_lifetime) = plain_struct(&input, "Emit")?;
    let (ident, vis) = (&input.ident, &input.vis);
    let (family, value_type) = if has_lifetime {
        (quote!(#ident<'_>), quote!(#ident<'r>))
    } else {
        (quote!(#ident), quote!(#ident))
    };
    let any_value = if has_lifetime {
        quote!(#ident<'_>)
    } else {
        quote!(#ident)
    };

    let mut columns = vec![];
    let (mut types, mut names, mut idents, mut froms) = (vec![], vec![], vec![], vec![]);
    for (i, field) in fields.named.iter().enumerate() {
        let field_ident = field
            .ident
            .as_ref()
            .expect("plain_struct gives named fields");
        let mut name = field_ident.to_string().trim_start_matches("r#").to_string();
        let mut from = None;
        for (key, value) in pairs(&field.attrs, "emit")? {
            match (key.to_string().as_str(), value) {
                ("name", Some(n)) => name = n.value(),
                ("from", Some(f)) => from = Some(f.value()),
                _ => {
                    return Err(syn::Error::new(
                        key.span(),
                        "expected name = \"..\" or from = \"/pointer\"",
                    ));
                }
            }
        }
        froms.push(
            from.unwrap_or_else(|| format!("/{}", name.replace('~', "~0").replace('/', "~1"))),
        );
        columns.push(format_ident!("column_{i}"));
        types.push(static_type(&field.ty));
        names.push(name);
        idents.push(field_ident);
    }
    Ok(quote! {
        const _: () = {
            #vis struct Columns {
                #(#columns: ::wasmill_plugin::emit::EmitColumn<
                    <#types as ::wasmill_plugin::emit::EmitType>::Buffer>,)*
            }
            impl ::wasmill_plugin::Emit for #family {
                type Value<'r> = #value_type;
                type Columns = Columns;
                fn columns(
                    reads: &[::wasmill_plugin::contract::FieldSpec],
                ) -> ::core::result::Result<
                    (Columns, ::std::vec::Vec<::wasmill_plugin::contract::EmitSpec>),
                    ::std::string::String,
                > {
                    let mut specs = ::std::vec::Vec::new();
                    let columns = Columns {
                        #(#columns: {
                            let (column, kind) =
                                <#types as ::wasmill_plugin::emit::EmitType>::column(#froms, reads)?;
                            specs.push(::wasmill_plugin::contract::EmitSpec { name: #names.into(), kind });
                            column
                        },)*
                    };
                    Ok((columns, specs))
                }
                #[inline]
                fn push(columns: &mut Columns, value: #any_value) {
                    #(::wasmill_plugin::emit::EmitType::push(value.#idents, &mut columns.#columns);)*
                }
                fn take(columns: &mut Columns) -> ::wasmill_plugin::contract::Payload {
                    ::wasmill_plugin::contract::Payload::Fields(::std::vec![
                        #(<#types as ::wasmill_plugin::emit::EmitType>::take(&mut columns.#columns)),*
                    ])
                }
                fn give(columns: &mut Columns, payload: ::wasmill_plugin::contract::Payload) {
                    if let ::wasmill_plugin::contract::Payload::Fields(fields) = payload {
                        let mut fields = fields.into_iter();
                        #(if let Some(field) = fields.next() {
                            <#types as ::wasmill_plugin::emit::EmitType>::give(&mut columns.#columns, field);
                        })*
                    }
                }
            }
        };
    })
}
