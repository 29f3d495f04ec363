package main

import (
	"strings"
	"time"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/graph"
	"gorgonia.org/gorgonia"
)

// profile adds up where a plan's time goes, by kernel: the nodes of all layers
// that have one name, such as q_proj. It is made of probes, which a plan calls
// after every node.
type profile struct {
	on      bool
	last    time.Time
	node    map[string]int // index into kernels and spent
	kernels []string       // in the order in which a token meets them
	spent   []time.Duration
}

// option makes a plan report to p.
func (p *profile) option() graph.Option {
	p.node = map[string]int{}
	byKernel := map[string]int{}
	return graph.WithProbe(func(name string, _ gorgonia.Op) bool {
		kernel := name[strings.LastIndexByte(name, '.')+1:]
		i, ok := byKernel[kernel]
		if !ok {
			i = len(p.kernels)
			byKernel[kernel] = i
			p.kernels, p.spent = append(p.kernels, kernel), append(p.spent, 0)
		}
		p.node[name] = i
		return true
	}, func(name string, _ *graph.Batch, _ []graph.Buffer, _ graph.Buffer) error {
		if p.on {
			now := time.Now()
			p.spent[p.node[name]] += now.Sub(p.last)
			p.last = now
		}
		return nil
	})
}

// start forgets what was added up, and begins again.
func (p *profile) start() {
	clear(p.spent)
	p.last, p.on = time.Now(), true
}

// stop ends the measurement and appends the seconds a token took to the
// kernels' series.
func (p *profile) stop(tokens int, kernels []series) {
	p.on = false
	for i, d := range p.spent {
		kernels[i] = append(kernels[i], d.Seconds()/float64(tokens))
	}
}

// work is what one kernel does for one token, in all layers.
type work struct {
	bytes int64 // of weights that a decoded token reads
	macs  float64
	int8  bool // it multiplies in int8
	mxfp4 bool // it does with int8 activations
}

// workOf returns the work by kernel, at positions from to to-1.
func workOf(c *gptoss.Checkpoint, from, to int) map[string]work {
	config, tensors := c.Config(), c.Tensors()
	all := map[string]work{}
	for _, p := range config.ProjectionList() {
		kernel := p.Name[strings.LastIndexByte(p.Name, '.')+1:]
		w := all[kernel]
		for _, t := range tensors {
			if rest, ok := strings.CutPrefix(t.Name, p.Name); ok && (rest == "" || rest[0] == '.' || rest[0] == '_') {
				w.mxfp4 = w.mxfp4 || rest == "_blocks"
				w.bytes += active(config, t.Name, int64(len(t.Data)))
			}
		}
		if p.Name != gptoss.EmbeddingName {
			w.macs += float64(macsOf(c, p))
		}
		w.int8 = c.Format(p.Name).Kind != ""
		all[kernel] = w
	}
	pairs := 0 // of a query with a key that it sees, over layers and positions
	for _, window := range config.Windows {
		for at := from; at < to; at++ {
			if seen := at + 1; window > 0 {
				pairs += min(seen, window)
			} else {
				pairs += seen
			}
		}
	}
	// A pair is a product with the key and one with the value.
	all["attention"] = work{macs: float64(pairs) / float64(to-from) * float64(2*config.Heads*config.HeadDim)}
	return all
}

// macsOf is the multiply-adds that a projection takes of a token: one for every
// weight of its active experts, or one for each of its planes.
func macsOf(c *gptoss.Checkpoint, p gptoss.Projection) int64 {
	return active(c.Config(), p.Name, p.Parameters()) * int64(c.Format(p.Name).Planes())
}
