package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"strconv"
	"time"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/quantize"
)

func must[T any](v T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return v
}

func main() {
	method, windows, evalw := os.Args[2], must(strconv.Atoi(os.Args[3])), must(strconv.Atoi(os.Args[4]))
	att := "ternary"
	if len(os.Args) > 5 {
		att = os.Args[5]
	}
	c := must(gptoss.Open(os.Args[1]))
	tok := must(c.Tokenizer())
	cpu := graph.NewCPU(0)
	cal := tok.Encode(string(must(os.ReadFile("/work/shared/text/calibration.txt"))))
	ev := tok.Encode(string(must(os.ReadFile("/work/shared/text/heldout.txt"))))
	var q *gptoss.Checkpoint
	t0 := time.Now()
	if method == "int8" {
		q = must(gptoss.Open(os.Args[1], gptoss.WithInt8Activations()))
	} else {
		dir := fmt.Sprintf("/tmp/q-%s-%s-%d", method, att, os.Getpid())
		last := time.Now()
		rep := must(quantize.Run(context.Background(), cpu, c, cal[:windows*512], dir, quantize.Options{Method: quantize.Method(method), Attention: att, Progress: func(p quantize.Progress) {
			if time.Since(last) > 10*time.Second {
				last = time.Now()
				fmt.Fprintf(os.Stderr, "%s %.0f%% %v\n", p.Step, 100*p.Done/p.Total, time.Since(t0))
			}
		}}))
		fmt.Println("quantized in", time.Since(t0), rep.Bytes, rep.BitsPerWeight, rep.LeastFed)
		q = must(gptoss.Open(dir))
	}
	a, b := must(c.Compile(cpu, 2048)), must(q.Compile(cpu, 2048))
	V := c.Config().Vocab
	t1 := time.Now()
	var kl, na, nb float64
	var top, n int
	lse := func(z []float32) float64 {
		m := z[0]
		for _, v := range z {
			m = max(m, v)
		}
		s := 0.0
		for _, v := range z {
			s += math.Exp(float64(v - m))
		}
		return float64(m) + math.Log(s)
	}
	var ta, tb time.Duration
	for w := 0; w < evalw; w += 4 {
		for i, m := range []*gptoss.Model{a, b} {
			bt := graph.NewBatch()
			for k := 0; k < 4; k++ {
				bt.Add(must(m.Plan.NewSequence()), 512)
			}
			for r := 0; r < 2048; r++ {
				bt.Want(r)
			}
			copy(m.Tokens(), ev[w*512:(w+4)*512])
			t := time.Now()
			if err := m.Plan.Run(bt); err != nil {
				panic(err)
			}
			if i == 0 {
				ta += time.Since(t)
			} else {
				tb += time.Since(t)
			}
		}
		for r := 0; r < 2048; r++ {
			la, lb := a.Logits(r), b.Logits(r)
			za, zb := lse(la), lse(lb)
			ia, ib := 0, 0
			for j := 0; j < V; j++ {
				p := math.Exp(float64(la[j]) - za)
				kl += p * (float64(la[j]) - za - float64(lb[j]) + zb)
				if la[j] > la[ia] {
					ia = j
				}
				if lb[j] > lb[ib] {
					ib = j
				}
			}
			if ia == ib {
				top++
			}
			if r%512 != 511 {
				y := ev[w*512+r+1]
				na += za - float64(la[y])
				nb += zb - float64(lb[y])
				n++
			}
		}
	}
	tot := float64(evalw * 512)
	fmt.Printf("%s: nll %.4f %.4f ratio %.4f kl %.4f top1 %.4f eval %v (ref %v, cand %v)\n", method, na/float64(n), nb/float64(n), math.Exp(nb/float64(n)-na/float64(n)), kl/tot, float64(top)/tot, time.Since(t1), ta, tb)
}
