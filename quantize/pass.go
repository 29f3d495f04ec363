package quantize

import (
	"context"
	"errors"
	"math"
)

// ReportTraining says what a pass of training did. All losses but Train's are
// means over the tokens of windows that training did not see, with everything
// rounded as it is stored.
type ReportTraining struct {
	Fitted  float64 `json:"fitted_loss"`  // before
	Trained float64 `json:"trained_loss"` // behind the last step
	Best    float64 `json:"best_loss"`    // of what was kept
	// Train is the loss on the windows that training saw, a moving average over
	// its last steps. Far below Trained it tells of over-fitting.
	Train    float64 `json:"train_loss"`
	Steps    int     `json:"steps"`
	BestStep int     `json:"best_step"` // whose result was kept; 0: none was better
	Kept     bool    `json:"kept"`      // whether one was
	// Windows is how many windows training saw, SelfText how many of them the
	// original wrote. HeldOut are the first and the last of the calibration
	// windows that judged.
	Windows  int    `json:"windows"`
	SelfText int    `json:"self_text_windows"`
	HeldOut  [2]int `json:"held_out"`
}

// trainState is everything that a step of training depends on and changes,
// beside the parameters.
type trainState struct {
	step      int // taken
	optimizer *adam
	order     *windowOrder
	best      snapshot
	stale     int // looks since the best
	report    ReportTraining
	recent    float64 // the steps' loss, a moving average
	done      bool
}

// snapshot is the best result so far.
type snapshot struct {
	loss   float64
	step   int
	result *result
}

// improve trains the model, which start has judged, and leaves in it the best
// that was seen on the held-out windows: what the model was, or what training
// made of it, rounded as it is stored.
//
// tick is told of the steps taken so far, and of the last one's loss. keep,
// if not nil, holds what an interrupted call left, and what this one will leave
// if ctx ends it.
func (t *trainer) improve(ctx context.Context, keep *checkpoint, tick func(steps int, loss float64)) (ReportTraining, error) {
	if err := keep.load(t); err != nil {
		return ReportTraining{}, err
	}
	windows := make([]int, t.opt.Batch)
	for s := &t.state; !s.done; {
		if ctx.Err() != nil {
			return ReportTraining{}, errors.Join(ctx.Err(), keep.save(t))
		}
		s.order.next(windows)
		loss, err := t.differentiate(windows)
		if err != nil {
			return ReportTraining{}, err
		}
		s.optimizer.step(t.cpu, t.params, t.opt.rate(s.step))
		s.step++
		loss /= float64(len(windows) * t.goal.window)
		s.recent += (loss - s.recent) / float64(min(s.step, recentSteps))
		tick(s.step, loss)
		if s.step%t.opt.Every == 0 || s.step == t.opt.Steps {
			if err := t.judge(); err != nil {
				return ReportTraining{}, err
			}
		}
		if err := keep.keep(t); err != nil {
			return ReportTraining{}, err
		}
	}
	return t.state.report, nil
}

// recentSteps is about how many steps the report's training loss is a mean of.
const recentSteps = 20

// start judges the model as it is. begin then moves the parameters to where
// training starts; nil leaves them.
func (t *trainer) start(begin func()) error {
	s := &t.state
	s.order = newWindowOrder(t.opt.Seed, t.seen)
	t.goal.model.round()
	loss, err := t.heldOut()
	if err != nil {
		return err
	}
	s.best = snapshot{loss: finite(loss), result: t.goal.model.result()}
	if begin != nil {
		begin()
	}
	s.report = ReportTraining{Fitted: finite(loss), Windows: len(t.seen), SelfText: t.goal.pool.written,
		HeldOut: [2]int{t.judges[0], t.judges[len(t.judges)-1]}}
	return nil
}

// judge looks at the held-out windows and remembers the model if it is the
// best so far. Behind the last step it leaves the best.
func (t *trainer) judge() error {
	s, m := &t.state, t.goal.model
	unrounded := m.round()
	loss, err := t.heldOut()
	if err != nil {
		return err
	}
	if s.stale++; loss < s.best.loss {
		s.best = snapshot{loss: loss, step: s.step, result: m.result()}
		s.stale = 0
	}
	lost := !(loss <= math.MaxFloat64) // NaN or infinite: it will not come back
	s.done = lost || s.step == t.opt.Steps || t.opt.Patience > 0 && s.stale >= t.opt.Patience
	if !s.done {
		unrounded.restore()
		return nil
	}
	if s.best.step != s.step { // the last one's latent weights may be of use to another pass
		m.restore(s.best.result)
	}
	r := &s.report
	r.Best, r.BestStep, r.Kept, r.Steps = s.best.loss, s.best.step, s.best.step > 0, s.step
	r.Trained, r.Train = finite(loss), finite(s.recent)
	s.best.result = nil
	return nil
}

// finite returns a loss that JSON can hold.
func finite(loss float64) float64 {
	if !(loss <= math.MaxFloat64) {
		return math.MaxFloat64
	}
	return loss
}
