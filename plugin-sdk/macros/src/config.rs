//! `#[config]` and `#[derive(Schema)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Data, DeriveInput, Fields, LitStr, Result};

use crate::args::doc_line;

/// What serde's attributes say, as far as the schema goes.
#[derive(Default)]
struct Serde {
    rename: Option<String>,
    rename_all: Option<String>,
    default: bool,
    skip: bool,
    closed: bool,
}

fn serde(attrs: &[Attribute]) -> Result<Serde> {
    let mut found = Serde::default();
    for attr in attrs.iter().filter(|a| a.path().is_ident("serde")) {
        attr.parse_nested_meta(|meta| {
            let word = meta
                .path
                .get_ident()
                .map(ToString::to_string)
                .unwrap_or_default();
            let value = if meta.input.peek(syn::Token![=]) {
                Some(meta.value()?.parse::<LitStr>()?.value())
            } else {
                None
            };
            match (word.as_str(), value) {
                ("rename", Some(name)) => found.rename = Some(name),
                ("rename_all", Some(style)) => found.rename_all = Some(style),
                ("default", _) => found.default = true,
                ("skip" | "skip_deserializing", _) => found.skip = true,
                ("deny_unknown_fields", _) => found.closed = true,
                _ => {}
            }
            Ok(())
        })?;
    }
    Ok(found)
}

/// A member's or variant's name under `rename_all`.
fn renamed(name: &str, style: Option<&str>, variant: bool) -> String {
    let name = name.trim_start_matches("r#");
    let mut words: Vec<String> = Vec::new();
    if variant {
        for c in name.chars() {
            if c.is_uppercase() || words.is_empty() {
                words.push(String::new());
            }
            let last = words.last_mut().expect("a word was just begun");
            last.extend(c.to_lowercase());
        }
    } else {
        words = name.split('_').map(str::to_string).collect();
    }
    let capital = |w: &String| w[..1].to_uppercase() + &w[1..];
    match style {
        Some("kebab-case") => words.join("-"),
        Some("snake_case") => words.join("_"),
        Some("lowercase") => words.concat(),
        Some("UPPERCASE") => words.concat().to_uppercase(),
        Some("SCREAMING_SNAKE_CASE") => words.join("_").to_uppercase(),
        Some("PascalCase") => words.iter().map(capital).collect(),
        Some("camelCase") => words[0].clone() + &words[1..].iter().map(capital).collect::<String>(),
        _ => name.to_string(),
    }
}

pub fn derive(item: TokenStream) -> Result<TokenStream> {
    let input: DeriveInput = syn::parse2(item)?;
    let ident = &input.ident;
    let container = serde(&input.attrs)?;
    let style = container.rename_all.as_deref();
    let doc = doc_line(&input.attrs);
    let body = match &input.data {
        Data::Struct(syn::DataStruct {
            fields: Fields::Named(fields),
            ..
        }) => {
            let mut members = vec![];
            for field in &fields.named {
                let own = serde(&field.attrs)?;
                if own.skip {
                    continue;
                }
                let name = field.ident.as_ref().expect("fields are named").to_string();
                let name = own.rename.unwrap_or_else(|| renamed(&name, style, false));
                let (doc, ty) = (doc_line(&field.attrs), &field.ty);
                let optional = own.default || container.default;
                members.push(quote! {
                    (#name, #doc, <#ty as ::wasmill_plugin::Schema>::schema(),
                     !(#optional || <#ty as ::wasmill_plugin::Schema>::OPTIONAL))
                });
            }
            let closed = container.closed;
            quote!(::wasmill_plugin::config::object_schema(#doc, &[#(#members),*], #closed))
        }
        Data::Enum(data) if data.variants.iter().all(|v| v.fields.is_empty()) => {
            let mut names = vec![];
            for variant in &data.variants {
                let own = serde(&variant.attrs)?;
                let name = own
                    .rename
                    .unwrap_or_else(|| renamed(&variant.ident.to_string(), style, true));
                names.push(format!(
                    "\"{}\"",
                    name.replace('\\', "\\\\").replace('"', "\\\"")
                ));
            }
            let text = format!("{{\"enum\":[{}]}}", names.join(","));
            quote!(#text.into())
        }
        _ => {
            return Err(syn::Error::new_spanned(
                ident,
                "a config is a struct with named fields, or in it an enum without data",
            ));
        }
    };
    Ok(quote! {
        impl ::wasmill_plugin::Schema for #ident {
            fn schema() -> ::std::string::String {
                #body
            }
        }
    })
}

pub fn attribute(item: TokenStream) -> Result<TokenStream> {
    let input: DeriveInput = syn::parse2(item)?;
    let closed = match &input.data {
        Data::Struct(_) => quote!(, deny_unknown_fields),
        _ => quote!(),
    };
    Ok(quote! {
        #[derive(::wasmill_plugin::serde::Deserialize, ::wasmill_plugin::Schema)]
        #[serde(crate = "::wasmill_plugin::serde", rename_all = "kebab-case" #closed)]
        #input
    })
}
