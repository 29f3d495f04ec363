package main

import (
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/atomicfile"
	"github.com/spf13/cobra"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// drawnRows is the number of tokens that the drawn graph is declared for. The
// drawing writes it as T.
const drawnRows = 4099

func newGraph(a *app) *cobra.Command {
	var out, format string
	var layer int
	cmd := &cobra.Command{
		Use:   "graph MODEL",
		Short: "Draw the declared graph",
		Long: `Graph draws the model as it is declared: every operator, the shapes on the edges,
one layer unrolled and the others as one box. T is the number of tokens.`,
		Example: "  tritium graph nano -o nano.svg\n  tritium graph nano --format dot | dot -Tpdf > nano.pdf",
		Args:    wantArgs("MODEL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			draw := graph.WriteSVG
			chosen := format
			if extension := filepath.Ext(out); !cmd.Flags().Changed("format") && out != "" {
				if chosen = strings.TrimPrefix(extension, "."); chosen != "svg" && chosen != "dot" {
					return usagef("--out %s: the name ends neither in .svg nor in .dot; say --format", out)
				}
			}
			if chosen == "dot" {
				draw = graph.WriteDOT
			}
			return withModel(args[0], func(c *gptoss.Checkpoint) error {
				return a.drawGraph(args[0], c, layer, out, draw)
			})
		},
	}
	cmd.Flags().StringVarP(&out, "out", "o", "", "`file` to write (default: stdout)")
	cmd.Flags().Var(newChoice(&format, "svg", "dot"), "format", "of the drawing; default by --out's name")
	cmd.Flags().IntVar(&layer, "layer", 0, "which layer to unroll")
	return cmd
}

func (a *app) drawGraph(name string, c *gptoss.Checkpoint, layer int, out string, draw func(io.Writer, *graph.Builder, graph.DrawOptions) error) error {
	config := c.Config()
	if layer < 0 || layer >= config.Layers {
		return usagef("--layer is %d, want 0 to %d", layer, config.Layers-1)
	}
	if a.json {
		return usagef("graph prints a drawing, which --json cannot be")
	}
	b := graph.NewBuilder()
	tokens := b.Input("tokens", tensor.Int32, drawnRows)
	logits := gptoss.Declare(b, config, c, tokens)
	o := graph.DrawOptions{Title: name, Rows: drawnRows, Outputs: []*gorgonia.Node{logits}, Collapse: collapse(config.Layers, layer)}
	var picture bytes.Buffer
	if err := draw(&picture, b, o); err != nil {
		return err
	}
	if out == "" {
		_, err := picture.WriteTo(a.out)
		return err
	}
	if err := atomicfile.WriteFile(out, func(w io.Writer) error { _, err := picture.WriteTo(w); return err }); err != nil {
		return err
	}
	a.remark("wrote %s", out)
	return nil
}

// collapse draws the layers before and behind the unrolled one as a box each.
func collapse(layers, unrolled int) func(scope string) (string, bool) {
	label := func(first, last int) string {
		if first == last {
			return fmt.Sprintf("layer %d", first)
		}
		return fmt.Sprintf("layers %d to %d", first, last)
	}
	return func(scope string) (string, bool) {
		var n int
		if _, err := fmt.Sscanf(scope, "model.layers.%d", &n); err != nil || n == unrolled {
			return "", false
		}
		if n < unrolled {
			return label(0, unrolled-1), true
		}
		return label(unrolled+1, layers-1), true
	}
}
