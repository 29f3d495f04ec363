package graph_test
import ("testing";"os";"github.com/seed-796a8800/tritium/graph"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)
func TestScratch(t *testing.T) {
	b := graph.NewBuilder()
	declareTransformer(b, 24, 64)
	f, _ := os.Create("/tmp/moe.svg"); defer f.Close()
	if err := graph.WriteSVG(f, b, graph.DrawOptions{Title: "GPT-OSS 20B", Rows: 64, Collapse: repeats(24)}); err != nil { t.Fatal(err) }
	b = graph.NewBuilder()
	x := b.Input("x", tensor.Float32, 64, 2)
	y := b.Input("y", tensor.Float32, 64, 1)
	p := func(s ...int) *tensor.Dense { return tensor.New(tensor.WithShape(s...), tensor.Of(tensor.Float32)) }
	var h *gorgonia.Node
	w1, b1 := b.Parameter("w1", p(2, 16)), b.Parameter("b1", p(1, 16))
	b.Scope("hidden", func() {
	h = b.Try(gorgonia.Mul(x, w1))
	h = b.Try(gorgonia.BroadcastAdd(h, b1, nil, []byte{0}))
	h = b.Try(gorgonia.Tanh(h))
	})
	w2 := b.Parameter("w2", p(16, 1))
	pr := b.Try(gorgonia.Sigmoid(b.Try(gorgonia.Mul(h, w2))))
	d := b.Try(gorgonia.Sub(pr, y))
	loss := b.Try(gorgonia.Mean(b.Try(gorgonia.Square(d))))
	g, _ := os.Create("/tmp/cls.svg"); defer g.Close()
	if err := graph.WriteSVG(g, b, graph.DrawOptions{Title: "A classifier", Rows: 64}); err != nil { t.Fatal(err) }
	gorgonia.Grad(loss, w1, b1, w2)
	k, _ := os.Create("/tmp/grad.svg"); defer k.Close()
	if err := graph.WriteSVG(k, b, graph.DrawOptions{Rows: 64}); err != nil { t.Fatal(err) }
}
