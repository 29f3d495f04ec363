package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/internal/progress"
	"github.com/seed-796a8800/tritium/quantize"
	"github.com/spf13/cobra"
)

func newCompress(a *app) *cobra.Command {
	var out string
	var expand bool
	cmd := &cobra.Command{
		Use:   "compress MODEL --out DIR",
		Short: "Make a ternary model smaller on disk, or undo it",
		Long: `Compress writes a copy of a model that 'tritium quantize' made whose weights take
about as many bits on disk as they carry. They are expanded when the model is
opened: it computes the same, to the bit, takes as much memory beside its files,
and takes longer to open. --expand gives the model back that was compressed.

'tritium quantize --compress' does the same at once.`,
		Example: "  tritium compress ./gpt-oss-20b-ternary --out ./gpt-oss-20b-small\n" +
			"  tritium compress ./gpt-oss-20b-small --out ./gpt-oss-20b-ternary --expand",
		Args: wantArgs("MODEL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if out == "" {
				return usagef("--out DIR is required")
			}
			if err := wantFree(out); err != nil {
				return err
			}
			return withModel(args[0], func(c *gptoss.Checkpoint) error {
				show := a.progress("compress", "B")
				report, err := quantize.Compress(cmd.Context(), c, out, expand, func(p quantize.Progress) {
					show.Update(p.Step, p.Done, p.Total)
				})
				show.Close()
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(report)
				}
				fmt.Fprintf(a.out, "%s: %s instead of %s, %.2f bits/weight\n", out, bytesText(report.Bytes), bytesText(c.Bytes()), report.BitsPerWeight)
				return nil
			}, a.expanding())
		},
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().StringVarP(&out, "out", "o", "", "`directory` to write, which must not exist")
	cmd.Flags().BoolVar(&expand, "expand", false, "write the weights as they are in memory")
	return cmd
}

// wantFree refuses an --out that is there already, before the work.
func wantFree(out string) error {
	_, err := os.Lstat(out)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("%s exists already; remove it or choose another name", out)
	}
	return fmt.Errorf("--out: %w", err)
}

// expanding shows how far a compressed model is expanded, while it is opened.
func (a *app) expanding() gptoss.OpenOption {
	var show *progress.Display // of a model that is not compressed there is none
	return gptoss.WithProgress(func(done, total int64) {
		if show == nil {
			show = a.progress("open", "B")
		}
		show.Update("expanding the weights", float64(done), float64(total))
		if done == total {
			show.Close()
		}
	})
}
