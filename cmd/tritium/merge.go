package main

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/quantize"
	"github.com/spf13/cobra"
)

func newMerge(a *app) *cobra.Command {
	var f quantizeFlags
	cmd := &cobra.Command{
		Use:   "merge MODEL --out DIR --store STORE...",
		Short: "Write the model whose shares are done",
		Long: `Merge writes the result of 'tritium quantize --shard', from the stores that the
shares have left. Model, text and options are those of the shares; what none of
the stores has is named. The stores are left as they are.`,
		Example: "  tritium quantize merge ./gpt-oss-20b --calibration text.txt --blocks independent \\\n" +
			"    --out ./gpt-oss-20b-ternary --store a.work --store b.work",
		Args: wantArgs("MODEL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.tokensGiven = cmd.Flags().Changed("tokens")
			if len(f.stores) == 0 {
				return usagef("--store DIR is required, once for every store")
			}
			if err := cmp.Or(f.check(), checkDistill(&f.options, cmd.Flags().Changed), f.budget.check(cmd.Flags())); err != nil {
				return err
			}
			return withModel(args[0], func(c *gptoss.Checkpoint) error {
				return a.merge(cmd.Context(), args[0], c, f)
			})
		},
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	f.define(fl)
	fl.StringArrayVar(&f.stores, "store", nil, "`directory` that a share has left; may be given several times")
	return cmd
}

func (a *app) merge(ctx context.Context, name string, c *gptoss.Checkpoint, f quantizeFlags) error {
	tokens, err := a.calibrationTokens(ctx, name, c, &f)
	if err != nil {
		return err
	}
	cpu := a.cpu()
	defer cpu.Close()
	show := a.progress("merge", "MAC")
	defer show.Close()
	o := f.options
	o.Train.Seed = a.seed
	o.Notice = func(err error) { a.remark("%v", err) }
	o.Progress = func(p quantize.Progress) { show.Update(p.Step, 0, 0) }
	a.onInterrupt = fmt.Sprintf("; nothing was written to %s", f.out)
	report, err := quantize.Merge(ctx, cpu, c, tokens, f.out, f.stores, o)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(report)
	}
	return a.printReport(c, f.out, report)
}

// parseShard reads --shard: I/N, or auto for what the environment says.
func parseShard(text string, lookup func(string) (string, bool)) (s quantize.Shard, err error) {
	index, n, first := text, "", "0"
	switch text {
	case "":
		return s, nil
	case "auto":
		if index, n, first = arrayTask(lookup); n == "" {
			return s, usagef("--shard auto: the environment has neither SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT nor JOB_COMPLETION_INDEX and JOB_COMPLETIONS")
		}
	default:
		index, n, _ = strings.Cut(text, "/")
	}
	i, err1 := strconv.Atoi(index)
	count, err2 := strconv.Atoi(n)
	least, err3 := strconv.Atoi(first)
	if i -= least; err1 != nil || err2 != nil || err3 != nil || i < 0 || i >= count {
		return s, usagef("--shard is %s (share %s of %s), want 0/N to N-1/N, or auto", text, index, n)
	}
	return quantize.Shard{Index: i, Count: count}, nil
}

// arrayTask says which task of how many a cluster's scheduler has started.
func arrayTask(lookup func(string) (string, bool)) (index, n, first string) {
	get := func(name string) string { v, _ := lookup(name); return v }
	if n = get("SLURM_ARRAY_TASK_COUNT"); n != "" {
		if first = get("SLURM_ARRAY_TASK_MIN"); first == "" {
			first = "0"
		}
		return get("SLURM_ARRAY_TASK_ID"), n, first
	}
	return get("JOB_COMPLETION_INDEX"), get("JOB_COMPLETIONS"), "0"
}
