//! `tidelog sim --help`.

/// All of it.
pub(super) const HELP: &str = "\
A cluster, its clients, network, disks and clocks in one process and on a virtual clock. A run is a function of its seed
and its knobs: what fails once fails every time.

Usage: tidelog sim VERB [FLAGS]

Verbs:
  run      --seed N             Run one seed, and say all about it
  sweep    --seeds A..B         Run many seeds; what fails is told as it comes
  shrink   --seed N | FILE      Cut a failing run down to the few things that matter
  replay   FILE                 Run what `shrink` wrote
  meta     --seed N | --seeds   Run seeds twice, here and in another process, and compare
  mutants  --seeds A..B         Plant known bugs one by one: do the checkers see them? (builds with --features mutants)
  history  FILE.. [--json]      Judge what real clients did, as JSON lines, with the checker that judges simulated ones
  scale                         Many brokers and partitions, no faults but a kill: what does it cost?
  knobs                         List the knobs with their quiet defaults

Flags of every run:
  --set KNOB=VALUE      Turn a knob; the others stay as the seed has drawn them
  --profile NAME        smoke, pr or nightly: number of nodes, faults, budget, share of seeds run twice
  --report-dir DIR      Leave a page to look at, the report as text and a file for `replay` there for each failing run
  --json                For machines
  --mutant ID           Plant this bug (builds with --features mutants)
Of run and replay:
  --trace               Print every state transition
  --disk                Print what the files hold at the end
  --digest              Print nothing but the run's digest and how many events it had
  --without-mutant      Replay on clean code what was found on a planted bug
Of sweep:
  --jobs N              Threads
  --budget TIME         No new seed is begun after this: 90s, 5m, 2h
  --min-seeds N         Fewer seeds than this within the budget are a failure
  --commit-seed HASH    200 seeds that belong to a commit, in place of --seeds
  --twice-every N       Run every Nth seed twice, the second time in another process
  --junit FILE          Write JUnit XML
  --marks               Fail if a rare state was never reached, or a kind of fault never struck (nightly does)
Of shrink:
  --out FILE            Write there instead of to stdout
  --budget TIME         60s
  --runs N              2000
Of mutants:
  --only ID             This one; may be repeated
  --budget TIME         No new seed is begun for a bug that has taken so long
  --trace               Run one bug on the first seed, and print every state transition
Of scale:
  --brokers N           100
  --partitions N        10000, of three replicas each

Examples:
  tidelog sim sweep --profile smoke --seeds 0..100
  tidelog sim run --seed 42 --set nodes=3 --report-dir /tmp/seed42
  tidelog sim shrink --seed 42 --set nodes=3 --out repro.toml
  tidelog sim replay repro.toml --trace
  tidelog sim sweep --profile pr --seeds 0..600 --budget 90s --jobs 2 --junit sim.xml --report-dir sim-reports

Exit codes:
   0  all well
   1  the command line is wrong, or a file cannot be read or written
  10  a safety checker has found something
  11  what should make progress does not
  12  an assertion or a panic
  13  two runs of one seed differ
  14  the budget was spent before enough seeds were run
  15  a planted bug survived
  16  a rare state was never reached, or a kind of fault never struck
  17  a bound was exceeded";
