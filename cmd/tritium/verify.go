package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/safetensors"
	"github.com/seed-796a8800/tritium/quantize"
	"github.com/seed-796a8800/tritium/testdata"
	"github.com/spf13/cobra"
)

// verification is what `verify --json` prints.
type verification struct {
	OK bool `json:"ok"`
	// The differences are null without a golden file, and where they are no
	// number.
	MaxAbsLogitDiff  *float64           `json:"max_abs_logit_diff"`
	MaxAbsHiddenDiff *float64           `json:"max_abs_hidden_diff"`
	FirstDifference  *goldenDifference  `json:"first_difference"`
	Tolerance        float64            `json:"tolerance"`
	Checks           []verificationStep `json:"checks"`
}

type goldenDifference struct {
	Tensor string   `json:"tensor"`
	MaxAbs *float64 `json:"max_abs_diff"` // null: not a number
}

type verificationStep struct {
	Check  string `json:"check"`
	Result string `json:"result"` // "ok", "failed", "skipped"
	Detail string `json:"detail"`
}

func newVerify(a *app) *cobra.Command {
	var golden string
	var tolerance float64
	cmd := &cobra.Command{
		Use:   "verify MODEL",
		Short: "Check structure, hashes and values of a model, and its results",
		Long: `Verify checks that a model has the tensors its configuration asks for,
that a ternary model's files are the ones that were written, and that every value
is finite. With a golden file it compares logits and hidden states with those
that another implementation computed, and names the first that differ. For nano
a golden file is built in. Exit code 1 says that something is wrong.`,
		Example: "  tritium verify nano\n  tritium verify ./gpt-oss-20b --golden golden.safetensors",
		Args:    wantArgs("MODEL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !(tolerance >= 0) {
				return usagef("--tolerance is %g, want a small positive number", tolerance)
			}
			v := &verification{OK: true, Tolerance: tolerance}
			if err := a.verify(cmd.Context(), v, args[0], golden); err != nil {
				return err
			}
			return a.printVerification(v)
		},
	}
	cmd.Flags().StringVar(&golden, "golden", "", "`file` of reference values, a .safetensors")
	cmd.Flags().Float64Var(&tolerance, "tolerance", 1e-4, "largest difference from the reference values")
	return cmd
}

// verify runs the checks and enters their outcome. It returns an error only
// where there is nothing to check.
func (a *app) verify(ctx context.Context, v *verification, name, golden string) error {
	if name != nano { // the report is looked for where the model is
		dir, err := modelDir(name)
		if err != nil {
			return err
		}
		name = dir
	}
	c, err := openModel(name, a.expanding())
	if err != nil {
		if name == nano {
			return err
		}
		v.add("structure", err, "")
		return nil
	}
	defer c.Close()
	v.add("structure", nil, fmt.Sprintf("%d tensors, %s, as config.json asks for", len(c.Tensors()), bytesText(c.Bytes())))
	if err := v.checkHashes(ctx, name, c.Config().Quantization != nil); err != nil {
		return err
	}
	cpu := a.cpu()
	defer cpu.Close()
	show := a.progress("verify", "B")
	err = c.CheckFinite(cpu, func(done, total int64) { show.Update("looking at every value", float64(done), float64(total)) })
	show.Close()
	v.add("values", err, "all finite")
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return v.checkGolden(cpu, name, c, golden)
}

// checkHashes compares a ternary model's files with its report.
func (v *verification) checkHashes(ctx context.Context, name string, ternary bool) error {
	_, err := os.Stat(filepath.Join(name, quantize.ReportName))
	if missing := errors.Is(err, fs.ErrNotExist); missing && ternary {
		v.add("hashes", fmt.Errorf("%s is missing, so nothing tells whether the files are as they were written", filepath.Join(name, quantize.ReportName)), "")
		return nil
	} else if name == nano || missing {
		v.skip("hashes", "no "+quantize.ReportName+": not a model that tritium wrote")
		return nil
	}
	err = quantize.VerifyFiles(ctx, name)
	if ctx.Err() != nil {
		return err
	}
	v.add("hashes", err, "every file is as "+quantize.ReportName+" says")
	return nil
}

// checkGolden compares results with a golden file.
func (v *verification) checkGolden(cpu *graph.CPU, name string, c *gptoss.Checkpoint, path string) error {
	archive, err := openGolden(name, path)
	if err != nil {
		return err
	}
	if archive == nil {
		v.skip("results", "no --golden file")
		return nil
	}
	defer archive.Close()
	if !v.OK {
		v.skip("results", "not worth comparing")
		return nil
	}
	d, err := gptoss.Compare(c.Config(), c, cpu, archive, v.Tolerance)
	if err != nil {
		return err
	}
	v.MaxAbsLogitDiff, v.MaxAbsHiddenDiff = number(d.MaxAbsLogitDiff), number(d.MaxAbsHiddenDiff)
	if d.First != nil {
		v.FirstDifference = &goldenDifference{d.First.Tensor, number(d.First.MaxAbs)}
		v.add("results", fmt.Errorf("%s is the first tensor that differs, by %.3g; the tolerance is %g", d.First.Tensor, d.First.MaxAbs, v.Tolerance), "")
		return nil
	}
	v.add("results", nil, fmt.Sprintf("%d tensors agree: logits to %.2g, hidden states to %.2g; the tolerance is %g",
		len(d.Tensors), d.MaxAbsLogitDiff, d.MaxAbsHiddenDiff, v.Tolerance))
	return nil
}

// openGolden opens a golden file; nil where none is named and none built in.
func openGolden(name, path string) (*safetensors.Archive, error) {
	if path != "" {
		archive, err := safetensors.Open(path)
		if err != nil {
			return nil, fmt.Errorf("--golden: %w", err)
		}
		return archive, nil
	}
	if name != nano {
		return nil, nil
	}
	const file = "golden.safetensors"
	data, err := fs.ReadFile(testdata.Nano(), file)
	if err != nil {
		return nil, err
	}
	return safetensors.Read(file, data)
}

// number is x for JSON, which knows no NaN.
func number(x float64) *float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return nil
	}
	return &x
}

func (v *verification) add(check string, err error, detail string) {
	s := verificationStep{check, "ok", detail}
	if err != nil {
		s.Result, s.Detail, v.OK = "failed", oneLine(err), false
	}
	v.Checks = append(v.Checks, s)
}

func (v *verification) skip(check, why string) {
	v.Checks = append(v.Checks, verificationStep{check, "skipped", why})
}

func (a *app) printVerification(v *verification) error {
	if a.json {
		if err := a.printJSON(v); err != nil {
			return err
		}
	} else {
		var t table
		for _, s := range v.Checks {
			t.row(s.Check, s.Result, s.Detail)
		}
		if err := t.write(a.out, 1, 2); err != nil {
			return err
		}
	}
	if !v.OK {
		return errReported
	}
	return nil
}
