//! What stands in an attribute, and small things that all macros need.

use proc_macro2::TokenStream;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, Ident, Lifetime, LitInt, LitStr, Meta, Result, Token, Type};

/// `name = "..", ports(".."), sets_keys, …`
#[derive(Default)]
pub struct Args {
    pub name: Option<LitStr>,
    pub ports: Vec<LitStr>,
    pub sets_keys: bool,
    pub sets_timestamps: bool,
    pub order_dependent: bool,
    pub max_records: u32,
    pub version: u32,
}

impl Args {
    /// Reads them; only those in `allowed` have a meaning for this kind of function.
    pub fn parse(tokens: TokenStream, allowed: &[&str]) -> Result<Args> {
        let mut args = Args::default();
        let parser = syn::meta::parser(|meta| {
            let word = meta
                .path
                .get_ident()
                .map(Ident::to_string)
                .unwrap_or_default();
            if !allowed.contains(&word.as_str()) {
                return Err(meta.error(format!("expected one of: {}", allowed.join(", "))));
            }
            match word.as_str() {
                "name" => args.name = Some(checked_name(meta.value()?.parse()?)?),
                "ports" => {
                    let content;
                    syn::parenthesized!(content in meta.input);
                    for port in Punctuated::<LitStr, Token![,]>::parse_terminated(&content)? {
                        args.ports.push(checked_port(port)?);
                    }
                }
                "sets_keys" => args.sets_keys = true,
                "sets_timestamps" => args.sets_timestamps = true,
                "order_dependent" => args.order_dependent = true,
                "max_records" => {
                    args.max_records = meta.value()?.parse::<LitInt>()?.base10_parse()?
                }
                _ => args.version = meta.value()?.parse::<LitInt>()?.base10_parse()?,
            }
            Ok(())
        });
        syn::parse::Parser::parse2(parser, tokens)?;
        Ok(args)
    }

    /// The flags of the descriptor.
    pub fn traits(&self, mergeable: bool) -> TokenStream {
        let flags = [
            (self.sets_keys, quote::quote!(SETS_KEYS)),
            (self.sets_timestamps, quote::quote!(SETS_TIMESTAMPS)),
            (mergeable, quote::quote!(MERGEABLE)),
            (self.order_dependent, quote::quote!(ORDER_DEPENDENT)),
        ];
        let flags = flags.iter().filter(|f| f.0).map(|f| &f.1);
        quote::quote! {
            ::wasmill_plugin::contract::Traits::empty() #(| ::wasmill_plugin::contract::Traits::#flags)*
        }
    }
}

/// Names as the contract has them: [a-z][a-z0-9-]{0,62}.
fn checked_name(name: LitStr) -> Result<LitStr> {
    let text = name.value();
    let fine = text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if fine {
        Ok(name)
    } else {
        Err(syn::Error::new(
            name.span(),
            "a name is [a-z][a-z0-9-]{0,62}",
        ))
    }
}

fn checked_port(name: LitStr) -> Result<LitStr> {
    match name.value().as_str() {
        "errors" | "late" => Err(syn::Error::new(
            name.span(),
            "`errors` and `late` are the host's own ports",
        )),
        _ => checked_name(name),
    }
}

/// `parse_int` and `ParseInt` as `parse-int`.
pub fn kebab(ident: &Ident) -> String {
    let mut name = String::new();
    for c in ident.to_string().chars() {
        if c == '_' {
            name.push('-');
        } else if c.is_ascii_uppercase() {
            if !name.is_empty() {
                name.push('-');
            }
            name.push(c.to_ascii_lowercase());
        } else {
            name.push(c);
        }
    }
    name
}

/// The first paragraph of the doc comment, as one line.
pub fn doc_line(attrs: &[Attribute]) -> String {
    let lines = attrs.iter().filter_map(|a| match &a.meta {
        Meta::NameValue(nv) if nv.path.is_ident("doc") => match &nv.value {
            Expr::Lit(syn::ExprLit {
                lit: syn::Lit::Str(s),
                ..
            }) => Some(s.value().trim().to_string()),
            _ => None,
        },
        _ => None,
    });
    lines
        .skip_while(|l| l.is_empty())
        .take_while(|l| !l.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The type with every lifetime `'static`: the name of a family of types, in associated types.
pub fn static_type(ty: &Type) -> Type {
    struct Static;
    impl syn::visit_mut::VisitMut for Static {
        fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
            *lifetime = Lifetime::new("'static", lifetime.span());
        }
        fn visit_type_reference_mut(&mut self, reference: &mut syn::TypeReference) {
            reference.lifetime = Some(Lifetime::new("'static", reference.and_token.span));
            syn::visit_mut::visit_type_reference_mut(self, reference);
        }
    }
    let mut ty = ty.clone();
    syn::visit_mut::VisitMut::visit_type_mut(&mut Static, &mut ty);
    ty
}

/// `key = "value"` pairs of a helper attribute.
pub struct Pairs(pub Vec<(Ident, Option<LitStr>)>);

impl Parse for Pairs {
    fn parse(input: ParseStream<'_>) -> Result<Pairs> {
        let mut pairs = Vec::new();
        while !input.is_empty() {
            let key: Ident = input.parse()?;
            let value = match input.parse::<Option<Token![=]>>()? {
                Some(_) => Some(input.parse()?),
                None => None,
            };
            pairs.push((key, value));
            if input.parse::<Option<Token![,]>>()?.is_none() {
                break;
            }
        }
        Ok(Pairs(pairs))
    }
}

/// All pairs of the attributes of this name.
pub fn pairs(attrs: &[Attribute], name: &str) -> Result<Vec<(Ident, Option<LitStr>)>> {
    let mut all = Vec::new();
    for attr in attrs.iter().filter(|a| a.path().is_ident(name)) {
        all.extend(attr.parse_args::<Pairs>()?.0);
    }
    Ok(all)
}

/// The fields of a struct with named fields, and whether it has a lifetime (it may have one, no more).
pub fn plain_struct<'a>(
    input: &'a syn::DeriveInput,
    what: &str,
) -> Result<(&'a syn::FieldsNamed, bool)> {
    let wrong = |text: String| Err(syn::Error::new_spanned(&input.ident, text));
    let syn::Data::Struct(syn::DataStruct {
        fields: syn::Fields::Named(fields),
        ..
    }) = &input.data
    else {
        return wrong(format!("{what} is for structs with named fields"));
    };
    let mut params = input.generics.params.iter();
    match (params.next(), params.next()) {
        (None, _) => Ok((fields, false)),
        (Some(syn::GenericParam::Lifetime(_)), None) => Ok((fields, true)),
        _ => wrong(format!(
            "{what} takes a struct with at most one lifetime, and no other parameters"
        )),
    }
}
