//! `#[derive(Fields)]`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{DeriveInput, LitStr, Result};

use crate::args::{pairs, plain_struct, static_type};

/// Where a struct's field comes from.
enum Source {
    Pointer {
        pointer: String,
        missing: Option<LitStr>,
        mismatch: Option<LitStr>,
    },
    Key,
    Value,
    Timestamp,
}

fn source(field: &syn::Field) -> Result<Source> {
    let ident = field
        .ident
        .as_ref()
        .expect("plain_struct gives named fields");
    let mut pointer = format!("/{}", ident.to_string().trim_start_matches("r#"));
    let (mut missing, mut mismatch) = (None, None);
    for (key, value) in pairs(&field.attrs, "field")? {
        match (key.to_string().as_str(), value) {
            ("key", None) => return Ok(Source::Key),
            ("value", None) => return Ok(Source::Value),
            ("timestamp", None) => return Ok(Source::Timestamp),
            ("name", Some(name)) => {
                pointer = format!("/{}", name.value().replace('~', "~0").replace('/', "~1"))
            }
            ("pointer", Some(at)) if at.value().is_empty() || at.value().starts_with('/') => {
                pointer = at.value()
            }
            ("pointer", Some(at)) => {
                return Err(syn::Error::new(
                    at.span(),
                    "a JSON pointer is empty or starts with /",
                ));
            }
            ("missing", Some(what)) => missing = Some(what),
            ("mismatch", Some(what)) => mismatch = Some(what),
            _ => {
                return Err(syn::Error::new(
                    key.span(),
                    "expected name = \"..\", pointer = \"..\", missing = \"..\", mismatch = \"..\", key, value or timestamp",
                ));
            }
        }
    }
    Ok(Source::Pointer {
        pointer,
        missing,
        mismatch,
    })
}

/// `OnBad`, from the word or from whether the type has nulls.
fn on_bad(word: &Option<LitStr>, nullable: TokenStream) -> Result<TokenStream> {
    let on_bad = quote!(::wasmill_plugin::contract::OnBad);
    Ok(match word {
        None => quote!(if #nullable { #on_bad::Null } else { #on_bad::Reject }),
        Some(word) => match word.value().as_str() {
            "null" => quote!(#on_bad::Null),
            "reject" => quote!(#on_bad::Reject),
            "fail" => quote!(#on_bad::Fail),
            _ => {
                return Err(syn::Error::new(
                    word.span(),
                    "expected \"null\", \"reject\" or \"fail\"",
                ));
            }
        },
    })
}

pub fn derive(item: TokenStream) -> Result<TokenStream> {
    let input: DeriveInput = syn::parse2(item)?;
    let (fields, has_lifetime) = plain_struct(&input, "Fields")?;
    let (ident, vis) = (&input.ident, &input.vis);
    let (family, row_type) = if has_lifetime {
        (quote!(#ident<'_>), quote!(#ident<'r>))
    } else {
        (quote!(#ident), quote!(#ident))
    };

    let (mut specs, mut members, mut makes, mut may_be_bad, mut bads, mut gets) =
        (vec![], vec![], vec![], vec![], vec![], vec![]);
    let mut columns = quote!(::wasmill_plugin::contract::Columns::empty());
    let mut at = 0usize;
    for (i, field) in fields.named.iter().enumerate() {
        let name = field
            .ident
            .as_ref()
            .expect("plain_struct gives named fields");
        let ty = static_type(&field.ty);
        let column = format_ident!("column_{i}");
        let raw_check = |what: &str| {
            quote! {
                if let Some(how) = columns.#column.bad::<#ty>(row) {
                    return Some(::wasmill_plugin::input::Bad { what: #what, how });
                }
            }
        };
        let is_text = quote!(<#ty as ::wasmill_plugin::input::BytesType>::TEXT);
        let flag = match source(field)? {
            Source::Pointer {
                pointer,
                missing,
                mismatch,
            } => {
                let field_type = quote!(<#ty as ::wasmill_plugin::input::FieldType>);
                let (missing, mismatch) = (
                    on_bad(&missing, quote!(#field_type::NULLABLE))?,
                    on_bad(&mismatch, quote!(#field_type::NULLABLE))?,
                );
                specs.push(quote! {
                    ::wasmill_plugin::contract::FieldSpec {
                        pointer: #pointer.into(),
                        kind: #field_type::KIND,
                        missing: #missing,
                        mismatch: #mismatch,
                    }
                });
                members.push(quote!(#column: ::wasmill_plugin::input::FieldColumn<'r, #ty>));
                makes.push(quote! {
                    #column: ::wasmill_plugin::input::FieldColumn::new(&view.batch.fields[#at])
                });
                may_be_bad.push(quote!(columns.#column.may_be_bad()));
                bads.push(quote! {
                    if let Some(bad) = columns.#column.bad(row, #pointer) {
                        return Some(bad);
                    }
                });
                gets.push(quote!(#name: columns.#column.get(row)));
                at += 1;
                continue;
            }
            Source::Key => {
                makes.push(
                    quote!(#column: ::wasmill_plugin::input::RawColumn::keys(view, #is_text)),
                );
                may_be_bad.push(quote!(columns.#column.may_be_bad::<#ty>()));
                bads.push(raw_check("key"));
                quote!(KEYS)
            }
            Source::Value => {
                makes.push(
                    quote!(#column: ::wasmill_plugin::input::RawColumn::values(view, #is_text)),
                );
                may_be_bad.push(quote!(columns.#column.may_be_bad::<#ty>()));
                bads.push(raw_check("value"));
                quote!(VALUES)
            }
            Source::Timestamp => {
                members.push(quote!(#column: &'r [i64]));
                makes.push(quote!(#column: ::wasmill_plugin::input::timestamps(view)));
                may_be_bad.push(
                    quote!(<#ty as ::wasmill_plugin::input::TimeType>::may_be_bad(columns.#column)),
                );
                bads.push(quote! {
                    if let Some(how) = <#ty as ::wasmill_plugin::input::TimeType>::bad(columns.#column[row]) {
                        return Some(::wasmill_plugin::input::Bad { what: "timestamp", how });
                    }
                });
                gets.push(quote!(#name: <#ty as ::wasmill_plugin::input::TimeType>::get(columns.#column[row])));
                quote!(TIMESTAMPS)
            }
        };
        columns = quote!(#columns | ::wasmill_plugin::contract::Columns::#flag);
        if flag.to_string() != "TIMESTAMPS" {
            members.push(quote!(#column: ::wasmill_plugin::input::RawColumn<'r>));
            gets.push(quote!(#name: <#ty as ::wasmill_plugin::input::BytesType>::get(&columns.#column, row)));
        }
    }
    let idents = fields.named.iter().map(|f| &f.ident);
    Ok(quote! {
        const _: () = {
            #vis struct Columns<'r> {
                #(#members,)*
                none: ::core::marker::PhantomData<&'r ()>,
            }
            // A field that is only handed on (`Same`) is read by the host: no warning that nobody does.
            #[allow(dead_code)]
            fn used(row: &#family) {
                #(let _ = &row.#idents;)*
            }
            #[allow(unused_variables)]
            impl ::wasmill_plugin::Input for #family {
                type Row<'r> = #row_type;
                type Columns<'r> = Columns<'r>;
                fn reads() -> ::wasmill_plugin::input::Reads {
                    ::wasmill_plugin::input::Reads { columns: #columns, fields: ::std::vec![#(#specs),*] }
                }
                fn columns<'r>(view: &::wasmill_plugin::input::View<'r>) -> Columns<'r> {
                    Columns { #(#makes,)* none: ::core::marker::PhantomData }
                }
                #[inline]
                fn may_be_bad(columns: &Columns<'_>) -> bool {
                    false #(|| #may_be_bad)*
                }
                #[inline]
                fn bad(columns: &Columns<'_>, row: usize) -> ::core::option::Option<::wasmill_plugin::input::Bad> {
                    #(#bads)*
                    None
                }
                #[inline]
                fn row<'r>(columns: &Self::Columns<'r>, row: usize) -> Self::Row<'r> {
                    #ident { #(#gets),* }
                }
            }
        };
    })
}
