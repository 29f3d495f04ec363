package main

import (
	"context"
	"fmt"

	"github.com/seed-796a8800/tritium/graph"
)

// benchRun is one measurement while it goes on.
type benchRun struct {
	flags   benchFlags
	subject subject
	speed   *speedometer
	profile *profile
	limits  *limits
	resting []*graph.Sequence // one a context

	// One value a repeat. A limit is the mean of what was measured right
	// before and right after.
	prefill, int8Peak, float32Peak series
	decode, read                   []series // [context]
	prefillKernels, decodeKernels  []series // [kernel], seconds a token; decoding at the first context
	resident                       int64
	tick                           func(step string)
}

// bench measures the model and the machine in turns, so that whatever else the
// machine does meets both.
func (a *app) bench(ctx context.Context, s subject, f benchFlags) (*benchmark, error) {
	cpu := a.cpu()
	defer cpu.Close()
	show := a.progress("bench", "steps")
	defer show.Close()
	steps := 0
	total := len(f.contexts) + f.repeats*(len(f.contexts)+1)
	r := &benchRun{flags: f, subject: s, profile: &profile{}}
	r.tick = func(step string) {
		show.Update(step, float64(steps), float64(total))
		steps++
	}
	var err error
	if r.speed, err = newSpeedometer(s.checkpoint, cpu, s.ids, max(f.prompt, f.contexts[0]), r.profile.option()); err != nil {
		return nil, err
	}
	if err := r.warmUp(ctx); err != nil {
		return nil, err
	}
	if r.limits, err = newLimits(cpu); err != nil {
		return nil, err
	}
	defer r.limits.close() // of memory that ends with the program, too
	for range f.repeats {
		if err := r.repeat(ctx); err != nil {
			return nil, err
		}
	}
	return r.report(a.machine()), nil
}

// warmUp reads every context once, and with them the weights.
func (r *benchRun) warmUp(ctx context.Context) error {
	for _, n := range r.flags.contexts {
		if err := ctx.Err(); err != nil {
			return err
		}
		r.tick(fmt.Sprintf("reading a context of %d", n))
		seq, err := r.speed.sequence(n + r.flags.repeats*(r.flags.decode+profileTokens))
		if err != nil {
			return err
		}
		if _, err := r.speed.prefill(seq, n); err != nil {
			return err
		}
		r.resting = append(r.resting, seq)
	}
	r.decode, r.read = make([]series, len(r.resting)), make([]series, len(r.resting))
	kernels := len(r.profile.kernels)
	r.decodeKernels, r.prefillKernels = make([]series, kernels), make([]series, kernels)
	r.resident = residentMemory()
	return nil
}

// repeat measures everything once.
func (r *benchRun) repeat(ctx context.Context) error {
	for i, seq := range r.resting {
		if err := ctx.Err(); err != nil {
			return err
		}
		r.tick(fmt.Sprintf("decoding at %d", seq.Len()))
		rate, read, err := r.decodeBesideReads(seq)
		if err != nil {
			return err
		}
		r.decode[i], r.read[i] = append(r.decode[i], rate), append(r.read[i], read)
	}
	// The clock that the profile reads after every kernel is kept out of the
	// decoding that was timed above.
	r.profile.start()
	if _, err := r.speed.decode(r.resting[0], profileTokens); err != nil {
		return err
	}
	r.profile.stop(profileTokens, r.decodeKernels)
	if err := ctx.Err(); err != nil {
		return err
	}
	return r.repeatPrefill()
}

// tokensBetweenReads is how many tokens are decoded between two looks at the
// memory's speed, which changes within a second on a machine that is shared.
const tokensBetweenReads = 8

// decodeBesideReads returns the tokens a second of one repeat and the mean of
// the bytes a second that could be read before, between and after them.
func (r *benchRun) decodeBesideReads(seq *graph.Sequence) (rate, read float64, err error) {
	reads, seconds := r.limits.read(), 0.0
	n := 1.0
	for done := 0; done < r.flags.decode; done += tokensBetweenReads {
		slice := min(tokensBetweenReads, r.flags.decode-done)
		tokens, err := r.speed.decode(seq, slice)
		if err != nil {
			return 0, 0, err
		}
		seconds += float64(slice) / tokens
		reads += r.limits.read()
		n++
	}
	return float64(r.flags.decode) / seconds, reads / n, nil
}

func (r *benchRun) repeatPrefill() error {
	r.tick(fmt.Sprintf("reading %d tokens", r.flags.prompt))
	seq, err := r.speed.sequence(r.flags.prompt)
	if err != nil {
		return err
	}
	int8Before, float32Before := r.limits.int8Peak(), r.limits.float32Peak()
	r.profile.start()
	rate, err := r.speed.prefill(seq, r.flags.prompt)
	if err != nil {
		return err
	}
	r.profile.stop(r.flags.prompt, r.prefillKernels)
	r.prefill = append(r.prefill, rate)
	r.float32Peak = append(r.float32Peak, (float32Before+r.limits.float32Peak())/2)
	r.int8Peak = append(r.int8Peak, (int8Before+r.limits.int8Peak())/2)
	return nil
}
