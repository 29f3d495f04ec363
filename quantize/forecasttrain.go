package quantize

import "github.com/seed-796a8800/tritium/gptoss"

// trainingMemory is what training takes: that of a layer or a window of them,
// and that of the whole model, or of the original that writes text, when nothing
// else is in memory.
type trainingMemory struct{ layer, whole int64 }

// forecastTraining computes the cost of all that trains, with options that are
// resolved for p.
func forecastTraining(c gptoss.Config, o Options, p pool) (work float64, memory trainingMemory) {
	layers := float64(c.Layers)
	costs := newCosts(c, o, o.carry(p).all()*o.Window)
	work = layers * float64(o.Train.Steps) * trainWork(c, o, o.Train.Batch)
	work += float64(o.SelfText*o.Window) * writingWork(c, o)
	memory.layer = trainMemory(c, o, o.Train, 1, false)
	memory.whole = max(writingMemory(c, o), 4*int64(p.all()*o.Window))
	if o.Method != Distill {
		return work, memory
	}
	d := o.Distill
	if n := d.WindowBlocks; n > 0 {
		n = min(n, c.Layers)
		work += layers * float64(d.Steps) * trainWork(c, o, d.Batch)
		if o.Blocks == Sequential { // the stream runs through every layer once more, behind the training
			work += layers * costs.output
		}
		memory.layer = max(memory.layer, trainMemory(c, o, d.TrainOptions, n, d.FreezeCodes))
		return work, memory
	}
	work += float64(d.Steps) * distillWork(c, o, d.Batch)
	head := 4 * int64(d.Micro*o.Window) * int64(c.Vocab)
	memory.whole = max(memory.whole, trainMemory(c, o, d.TrainOptions, c.Layers, d.FreezeCodes)+7*head)
	return work, memory
}

// layerWeights is how many weights the projections of a layer have.
func layerWeights(c gptoss.Config) (n int64) {
	for _, p := range c.LayerProjections(0) {
		n += p.Parameters()
	}
	return n
}

// trainMemory is what training some layers takes: for every weight its latent
// value, the fit, two moments and two derivatives, and the values of the nodes
// of a batch, forward and backward. Derivatives that are added up over a
// batch's parts take their sum too; codes that are frozen no moments. The
// factors are above what was measured: see TestMemoryForecast.
func trainMemory(c gptoss.Config, o Options, t TrainOptions, layers int, frozen bool) int64 {
	perToken := float64(12*c.Hidden+6*c.Heads*c.HeadDim) + float64(c.ActiveExperts)*float64(10*c.Intermediate+3*c.Hidden)
	perWeight := 8.25
	if t.Micro < t.Batch {
		perWeight++
	}
	if frozen {
		perWeight = 4.25
	}
	return int64(4 * float64(layers) * (perWeight*float64(layerWeights(c)) + float64(t.Micro*o.Window)*perToken))
}

// trainWork is the arithmetic of one step of one layer: forward, and twice that
// backward.
func trainWork(c gptoss.Config, o Options, windows int) float64 {
	return 3 * newCosts(c, o, windows*o.Window).original
}

// distillWork is that of one step of the whole model, and of its teacher.
func distillWork(c gptoss.Config, o Options, windows int) float64 {
	head := float64(windows*o.Window) * float64(c.Hidden) * float64(c.Vocab)
	return float64(c.Layers)*(trainWork(c, o, windows)+newCosts(c, o, windows*o.Window).original) + 3*head
}

// writingWork is that of a token that the original writes.
func writingWork(c gptoss.Config, o Options) float64 {
	return float64(c.Layers)*newCosts(c, o, 1).original + float64(c.Hidden)*float64(c.Vocab)
}

// writingMemory is what the original takes while it writes: the caches of keys
// and values, which grow by half at a time, and the logits with their
// candidates.
func writingMemory(c gptoss.Config, o Options) int64 {
	if o.SelfText == 0 {
		return 0
	}
	cache := 12 * int64(c.Layers) * int64(c.KVHeads*c.HeadDim) * int64(o.Window)
	return writtenAtOnce*(cache+4*int64(c.Vocab)) + 16*16*int64(c.Vocab)
}
