//! What `wasmill` does where files of a fixed size cannot show it: made-up data, signals, pipes.

mod bad_data;
mod caps;
mod contract;
mod crashes;
mod files;
mod flights;
mod kept_state;
mod kills;
mod logs;
mod mutations;
mod nexmark;
mod object_store;
mod pages;
mod restores;
mod s3_server;
mod sandbox;
mod savepoints;
mod signals;
mod spill;
