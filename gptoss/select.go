package gptoss

import (
	"cmp"
	"slices"
)

// byLikelihood orders candidates: the likelier first, of equals the lower id.
func byLikelihood(a, b candidate) int {
	if d := cmp.Compare(b.p, a.p); d != 0 {
		return d
	}
	return cmp.Compare(a.id, b.id)
}

func total(c []candidate) (sum float64) {
	for _, x := range c {
		sum += x.p
	}
	return sum
}

// likeliestOf returns the k likeliest candidates in order, 1 <= k <= len(c). It
// reorders c: a heap of the k best so far, the worst of them on top, is all
// that is kept in order until the end, and hardly any of a vocabulary enters it.
func likeliestOf(c []candidate, k int) []candidate {
	heap, rest := c[:k], c[k:]
	for i := k/2 - 1; i >= 0; i-- {
		sink(heap, i)
	}
	for i := range rest {
		if byLikelihood(rest[i], heap[0]) < 0 {
			heap[0], rest[i] = rest[i], heap[0]
			sink(heap, 0)
		}
	}
	slices.SortFunc(heap, byLikelihood)
	return heap
}

// sink restores the heap below i.
func sink(heap []candidate, i int) {
	for {
		child := 2*i + 1
		if child >= len(heap) {
			return
		}
		if child+1 < len(heap) && byLikelihood(heap[child+1], heap[child]) > 0 {
			child++
		}
		if byLikelihood(heap[i], heap[child]) >= 0 {
			return
		}
		heap[i], heap[child] = heap[child], heap[i]
		i = child
	}
}

// nucleus returns, in order, the smallest set of likeliest candidates with at
// least the share p, 0 < p < 1, of all of them. It reorders c.
//
// Only candidates that can matter are put in order: those with less than an
// n-th of the share 1 - p have less than that share together, so the others
// reach p without them. Half of that bound leaves rounding its room; should it
// not be enough, all are put in order.
func nucleus(c []candidate, p float64) []candidate {
	sum := total(c)
	bound := (1 - p) * sum / float64(2*len(c))
	n := 0
	for i := range c {
		if c[i].p >= bound {
			c[i], c[n] = c[n], c[i]
			n++
		}
	}
	for _, some := range [][]candidate{c[:n], c} {
		slices.SortFunc(some, byLikelihood)
		mass := 0.0
		for i, x := range some {
			if mass += x.p; mass >= p*sum {
				return some[:i+1]
			}
		}
	}
	return c
}
