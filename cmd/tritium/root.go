package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/progress"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// app is what all commands share: the streams and the common flags.
type app struct {
	in       io.Reader
	out, err io.Writer

	json, quiet bool
	threads     int
	device      string
	seed        uint64
	config      string

	onInterrupt string // what follows "tritium: interrupted"
}

// newRoot returns the whole command tree.
func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "tritium",
		Short: "Quantize GPT-OSS to ternary weights and run it on the CPU",
		Long: `Tritium turns GPT-OSS into a model of ternary weights (-1, 0, +1 times a scale)
and int8 activations, says what that cost, and runs it on the CPU.

MODEL is a directory in Hugging Face layout, original or ternary, the name of a
repository that 'tritium pull' fetched (openai/gpt-oss-20b, or with a revision
openai/gpt-oss-20b@main), or the word "nano": a small GPT-OSS that is built into
this program.`,
		Example: `  tritium demo
  tritium inspect nano
  tritium quantize nano --out nano-ternary
  tritium eval nano-ternary --reference nano
  tritium run nano-ternary -p "The captain looked at"`,
		SilenceErrors: true,
		SilenceUsage:  true,
		// Runs only when no command matched.
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			hint := "see 'tritium --help'"
			if s := cmd.SuggestionsFor(args[0]); len(s) > 0 {
				hint = fmt.Sprintf("did you mean %q?", strings.Join(s, `" or "`))
			}
			return usagef("unknown command %q; %s", args[0], hint)
		},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return a.prepare(cmd) },
	}
	root.SuggestionsMinimumDistance = 2
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%s; see '%s --help'", strings.Join(strings.Fields(err.Error()), " "), cmd.CommandPath())
	})
	cobra.AddTemplateFunc("plain", plainFlags)
	root.SetUsageTemplate(usageTemplate(root.UsageTemplate()))
	f := root.PersistentFlags()
	f.SortFlags = false
	f.BoolVar(&a.json, "json", false, "print one JSON object and nothing else")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "no progress and no remarks on stderr")
	f.IntVar(&a.threads, "threads", 0, "threads to compute on (default all)")
	f.Var(newChoice(&a.device, "auto", "cpu", "cuda"), "device", "where to compute")
	f.Uint64Var(&a.seed, "seed", 0, "sampling with the same `number` gives the same text")
	f.StringVar(&a.config, "config", "", "`file` with defaults for flags (default tritium/config.toml in the user's configuration directory)")
	root.AddCommand(newDemo(a), newPull(a), newInspect(a), newQuantize(a), newCompress(a), newEval(a), newVerify(a), newRun(a), newChat(a),
		newGraph(a), newTokenize(a), newBench(a), newVersion(a))
	return root
}

// usageTemplate adapts cobra's template: the root, which does nothing without a
// command, has one usage line, and flags are printed by plainFlags.
func usageTemplate(cobras string) string {
	return strings.NewReplacer(
		"{{if .Runnable}}", "{{if and .Runnable .HasParent}}",
		"[command]", "COMMAND",
		".FlagUsages |", ".FlagUsages | plain |",
	).Replace(cobras)
}

// plainFlags takes away what pflag writes behind every flag without a value.
func plainFlags(usages string) string {
	const noise = "[=true|false]"
	return strings.ReplaceAll(usages, noise, strings.Repeat(" ", len(noise)))
}

// prepare takes flags that were not given from the environment, then from the
// configuration file, and checks the common ones.
func (a *app) prepare(cmd *cobra.Command) error {
	if err := flagsFromEnvironment(cmd.Flags(), os.LookupEnv); err != nil {
		return err
	}
	if err := flagsFromConfig(cmd, a.config); err != nil {
		return err
	}
	if a.threads < 0 || a.threads > 4096 {
		return usagef("--threads is %d, want 1 to 4096, or 0 for all", a.threads)
	}
	if a.device == "cuda" {
		return fmt.Errorf("this build has no CUDA; use --device cpu")
	}
	return nil
}

// flagsFromEnvironment sets every flag that the command line left alone from
// TRITIUM_<NAME>: --threads from TRITIUM_THREADS, --min-p from TRITIUM_MIN_P.
func flagsFromEnvironment(flags *pflag.FlagSet, lookup func(string) (string, bool)) (err error) {
	flags.VisitAll(func(f *pflag.Flag) {
		if err != nil || f.Changed || f.Name == "help" {
			return
		}
		name := "TRITIUM_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if value, ok := lookup(name); ok {
			if e := flags.Set(f.Name, value); e != nil {
				err = usagef("environment %s: %v", name, e)
			}
		}
	})
	return err
}

// cpu returns the device to compute on; close it.
func (a *app) cpu() *graph.CPU { return graph.NewCPU(a.threads) }

// remark tells the user something that is not a result.
func (a *app) remark(format string, args ...any) {
	if !a.quiet {
		fmt.Fprintf(a.err, format+"\n", args...)
	}
}

// progress returns a display for one piece of work, nil (silent) with --quiet.
func (a *app) progress(title, unit string) *progress.Display {
	if a.quiet {
		return nil
	}
	return progress.New(a.err, title, unit)
}

// wantArgs refuses any other number of arguments than the names say. A name
// that ends in "..." takes one or more.
func wantArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		more := len(names) > 0 && strings.HasSuffix(names[len(names)-1], "...")
		if len(args) == len(names) || more && len(args) > len(names) {
			return nil
		}
		want := "no argument"
		if len(names) > 0 {
			want = strings.Join(names, " ")
		}
		return usagef("%s takes %s, got %d arguments; see '%s --help'", cmd.CommandPath(), want, len(args), cmd.CommandPath())
	}
}

// choice is a flag with a few possible values, the first the default.
type choice struct {
	value   *string
	allowed []string
}

func newChoice(value *string, allowed ...string) *choice {
	*value = allowed[0]
	return &choice{value, allowed}
}

func (c *choice) String() string { return *c.value }
func (c *choice) Type() string   { return strings.Join(c.allowed, "|") }

func (c *choice) Set(s string) error {
	if !slices.Contains(c.allowed, s) {
		return fmt.Errorf("choose one of %s", strings.Join(c.allowed, ", "))
	}
	*c.value = s
	return nil
}

// newOptional is a choice that may also not be made.
func newOptional(value *string, allowed ...string) *choice { return &choice{value, allowed} }
