//! `#[aggregate]` and `#[process]`: attributes of an `impl` of the accumulator or state.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{FnArg, Ident, ImplItem, ImplItemFn, ItemImpl, Result, Type};

use crate::args::{Args, doc_line, kebab};
use crate::rows::export;
use crate::signature::Shape;

/// The impl block, its type's name, and its methods.
struct Block {
    item: ItemImpl,
    ident: Ident,
}

impl Block {
    fn parse(item: TokenStream, known: &[&str]) -> Result<Block> {
        let item: ItemImpl = syn::parse2(item)?;
        if item.trait_.is_some() || !item.generics.params.is_empty() {
            return Err(syn::Error::new_spanned(
                &item.self_ty,
                "expected a plain `impl Type`, without generics",
            ));
        }
        let ident = match &*item.self_ty {
            Type::Path(path) if path.path.get_ident().is_some() => path.path.get_ident().cloned(),
            _ => None,
        };
        let Some(ident) = ident else {
            return Err(syn::Error::new_spanned(
                &item.self_ty,
                "expected the name of a struct or enum",
            ));
        };
        for method in item.items.iter().filter_map(as_fn) {
            let near = method.sig.ident.to_string();
            if !known.contains(&near.as_str()) && matches!(method.vis, syn::Visibility::Public(_)) {
                return Err(syn::Error::new_spanned(
                    &method.sig.ident,
                    format!(
                        "expected one of: {} (helpers go into another impl)",
                        known.join(", ")
                    ),
                ));
            }
        }
        Ok(Block { item, ident })
    }

    fn method(&self, name: &str) -> Option<&ImplItemFn> {
        self.item
            .items
            .iter()
            .filter_map(as_fn)
            .find(|f| f.sig.ident == name)
    }

    fn needed(&self, name: &str) -> Result<&ImplItemFn> {
        self.method(name).ok_or_else(|| {
            syn::Error::new_spanned(&self.item.self_ty, format!("`fn {name}` is missing"))
        })
    }

    fn shape(&self, name: &str, rows: usize, emits: bool) -> Result<Option<Shape>> {
        self.method(name)
            .map(|f| Shape::of(&f.sig, rows, emits))
            .transpose()
    }

    /// `fn init`, or `Default`.
    fn init(&self) -> Result<TokenStream> {
        let ident = &self.ident;
        Ok(match self.shape("init", 0, false)? {
            Some(shape) => shape.call(quote!(#ident::init), &[]),
            None => quote!(<#ident as ::core::default::Default>::default()),
        })
    }

    /// `fn migrate`, or none.
    fn migrate(&self) -> TokenStream {
        let ident = &self.ident;
        match self.method("migrate") {
            Some(_) => quote! {
                ::core::option::Option::Some(
                    ::wasmill_plugin::Outcome::<#ident>::outcome(#ident::migrate(from_version, bytes))
                )
            },
            None => quote!(::core::option::Option::None),
        }
    }

    /// The config type that all the methods agree on.
    fn config(&self, shapes: &[Option<&Shape>]) -> TokenStream {
        let mut with = shapes.iter().flatten().filter(|s| s.config.is_some());
        with.next()
            .map_or_else(|| quote!(::wasmill_plugin::NoConfig), |s| s.config_type())
    }
}

fn as_fn(item: &ImplItem) -> Option<&ImplItemFn> {
    match item {
        ImplItem::Fn(f) => Some(f),
        _ => None,
    }
}

pub fn aggregate(args: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let args = Args::parse(args, &["name", "order_dependent", "version"])?;
    let block = Block::parse(item, &["init", "add", "merge", "finish", "gap", "migrate"])?;
    let Block { item, ident } = &block;
    let add = Shape::of(&block.needed("add")?.sig, 1, false)?;
    let finish = Shape::of(&block.needed("finish")?.sig, 0, true)?;
    let merge = block.method("merge");
    let init_shape = block.shape("init", 0, false)?;
    let gap_shape = block.shape("gap", 1, false)?;

    let config = block.config(&[
        Some(&add),
        Some(&finish),
        init_shape.as_ref(),
        gap_shape.as_ref(),
    ]);
    let (input, emit) = (&add.rows[0], finish.emit_type());
    let (traits, version) = (args.traits(merge.is_some()), args.version);
    let (init, migrate) = (block.init()?, block.migrate());
    let migrates = block.method("migrate").is_some();
    let add = add.call(quote!(#ident::add), &["row"]);
    let finish = finish.emitting_call(quote!(#ident::finish), &[]);
    // `finish` takes its accumulator by value or by reference.
    let by_ref = block
        .method("finish")
        .and_then(|f| f.sig.receiver())
        .is_some_and(|r| r.reference.is_some());
    let bind = if by_ref {
        quote!(let state = &state;)
    } else {
        quote!()
    };
    let merge = match merge {
        Some(f) => {
            let Some(FnArg::Typed(later)) = f.sig.inputs.iter().nth(1) else {
                return Err(syn::Error::new_spanned(
                    &f.sig,
                    "expected fn merge(&mut self, later: Self)",
                ));
            };
            let later = if matches!(*later.ty, Type::Reference(_)) {
                quote!(&later)
            } else {
                quote!(later)
            };
            let config = if f.sig.inputs.len() > 2 {
                quote!(, config)
            } else {
                quote!()
            };
            quote!(::wasmill_plugin::Outcome::<()>::outcome(#ident::merge(state, #later #config)))
        }
        None => quote!(::core::result::Result::Ok(())),
    };
    let has_gap = gap_shape.is_some();
    let gap = match gap_shape {
        Some(shape) => {
            let call = shape.call(quote!(#ident::gap), &["row"]);
            quote!(::wasmill_plugin::Outcome::<i64>::outcome(#call))
        }
        None => quote!(::core::result::Result::Ok(0)),
    };
    let name = args
        .name
        .as_ref()
        .map_or_else(|| kebab(ident), |n| n.value());
    let doc = doc_line(&item.attrs);
    let export = export(
        quote!(#ident),
        &name,
        quote!(Aggregate),
        &doc,
        config.clone(),
        quote!(open_aggregate),
    );
    let result = quote!(::core::result::Result<(), ::wasmill_plugin::Reject>);
    Ok(quote! {
        #item
        #[allow(unused_variables)]
        impl ::wasmill_plugin::run::AggregateFn for #ident {
            type Config = #config;
            type Input = #input;
            type State = #ident;
            type Emit = #emit;
            fn traits() -> ::wasmill_plugin::contract::Traits {
                #traits
            }
            const VERSION: u32 = #version;
            #[inline]
            fn init(config: &Self::Config) -> #ident {
                #init
            }
            #[inline]
            fn add(
                config: &Self::Config,
                state: &mut #ident,
                row: <Self::Input as ::wasmill_plugin::Input>::Row<'_>,
            ) -> #result {
                ::wasmill_plugin::Outcome::<()>::outcome(#add)
            }
            #[inline]
            fn merge(config: &Self::Config, state: &mut #ident, later: #ident) -> #result {
                #merge
            }
            #[inline]
            fn finish(
                config: &Self::Config,
                state: #ident,
                group: &::wasmill_plugin::Group<'_>,
                out: &mut ::wasmill_plugin::Output<Self::Emit>,
            ) -> #result {
                #bind
                #finish
            }
            const GAPS: bool = #has_gap;
            #[inline]
            fn gap(
                config: &Self::Config,
                row: <Self::Input as ::wasmill_plugin::Input>::Row<'_>,
            ) -> ::core::result::Result<i64, ::wasmill_plugin::Reject> {
                #gap
            }
            const MIGRATES: bool = #migrates;
            fn migrate(
                from_version: u32,
                bytes: &[u8],
            ) -> ::core::option::Option<::core::result::Result<#ident, ::wasmill_plugin::Reject>> {
                #migrate
            }
        }
        #export
    })
}

pub fn process(args: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let args = Args::parse(
        args,
        &["name", "ports", "sets_keys", "sets_timestamps", "version"],
    )?;
    let block = Block::parse(item, &["init", "on_record", "on_timer", "migrate"])?;
    let Block { item, ident } = &block;
    let record = Shape::of(&block.needed("on_record")?.sig, 1, false)?;
    let timer = block.shape("on_timer", 0, false)?;
    let init_shape = block.shape("init", 0, false)?;
    let config = block.config(&[Some(&record), timer.as_ref(), init_shape.as_ref()]);
    let input = &record.rows[0];
    let emit = match &timer {
        Some(timer) if record.emit.is_none() => timer.emit_type(),
        _ => record.emit_type(),
    };
    let (ports, traits, version) = (&args.ports, args.traits(false), args.version);
    let (init, migrate) = (block.init()?, block.migrate());
    let migrates = block.method("migrate").is_some();
    let on_record = record.call(quote!(#ident::on_record), &["row"]);
    let on_timer = match timer {
        Some(shape) => {
            let call = shape.call(quote!(#ident::on_timer), &[]);
            quote!(::wasmill_plugin::Outcome::<()>::outcome(#call))
        }
        None => quote!(::core::result::Result::Ok(())),
    };
    let name = args
        .name
        .as_ref()
        .map_or_else(|| kebab(ident), |n| n.value());
    let doc = doc_line(&item.attrs);
    let export = export(
        quote!(#ident),
        &name,
        quote!(Process),
        &doc,
        config.clone(),
        quote!(open_process),
    );
    let result = quote!(::core::result::Result<(), ::wasmill_plugin::Reject>);
    Ok(quote! {
        #item
        #[allow(unused_variables)]
        impl ::wasmill_plugin::run::ProcessFn for #ident {
            type Config = #config;
            type Input = #input;
            type State = #ident;
            type Emit = #emit;
            const PORTS: &'static [&'static str] = &[#(#ports),*];
            fn traits() -> ::wasmill_plugin::contract::Traits {
                #traits
            }
            const VERSION: u32 = #version;
            fn init(config: &Self::Config) -> #ident {
                #init
            }
            #[inline]
            fn on_record(
                config: &Self::Config,
                state: &mut #ident,
                row: <Self::Input as ::wasmill_plugin::Input>::Row<'_>,
                context: &mut ::wasmill_plugin::Context<'_>,
                out: &mut ::wasmill_plugin::Output<Self::Emit>,
            ) -> #result {
                ::wasmill_plugin::Outcome::<()>::outcome(#on_record)
            }
            #[inline]
            fn on_timer(
                config: &Self::Config,
                state: &mut #ident,
                timer: ::wasmill_plugin::Timer,
                context: &mut ::wasmill_plugin::Context<'_>,
                out: &mut ::wasmill_plugin::Output<Self::Emit>,
            ) -> #result {
                #on_timer
            }
            const MIGRATES: bool = #migrates;
            fn migrate(
                from_version: u32,
                bytes: &[u8],
            ) -> ::core::option::Option<::core::result::Result<#ident, ::wasmill_plugin::Reject>> {
                #migrate
            }
        }
        #export
    })
}
