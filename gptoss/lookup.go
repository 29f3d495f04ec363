package gptoss

// lookup finds where the end of a text occurred in it before: prompt lookup.
// It is an index of every run of gram tokens by hash, in the manner of LZ77
// compressors: a table of the latest occurrences, each linked to the one
// before. A place p stands for the first p tokens of the text, and so also for
// the token that follows them.
type lookup struct {
	latest []int32 // by hash: the latest place whose last gram tokens hash so; 0 is none
	before []int32 // by place: the place before it with the same hash
}

const (
	gram        = 3       // tokens that must agree
	lookupSlots = 1 << 15 // hashes
	maxMatch    = 32      // tokens compared; more say nothing more
	maxProbes   = 16      // places compared
)

func newLookup() *lookup {
	return &lookup{latest: make([]int32, lookupSlots), before: make([]int32, 1)}
}

func (l *lookup) clone() *lookup {
	return &lookup{append([]int32(nil), l.latest...), append([]int32(nil), l.before...)}
}

// hash is of the last tokens of a text of at least gram.
func (l *lookup) hash(text []int32) int {
	h := uint64(0)
	for _, id := range text[len(text)-gram:] {
		h = (h ^ uint64(uint32(id))) * 0x9E3779B97F4A7C15
	}
	return int(h>>32) % len(l.latest)
}

// extend indexes the places of text that are not yet.
func (l *lookup) extend(text []int32) {
	for p := len(l.before); p <= len(text); p++ {
		last := int32(0)
		if p >= gram {
			h := l.hash(text[:p])
			last, l.latest[h] = l.latest[h], int32(p)
		}
		l.before = append(l.before, last)
	}
}

// shorten takes out the places behind the first n tokens of text. A place is
// the latest of its hash when all behind it are gone.
func (l *lookup) shorten(text []int32, n int) {
	for p := len(l.before) - 1; p > n; p-- {
		if p >= gram {
			l.latest[l.hash(text[:p])] = l.before[p]
		}
		l.before = l.before[:p]
	}
}

// find returns the place before the end of an indexed text whose last tokens
// are the longest end of the text, the latest of several, and how many tokens
// agree; 0, 0 if fewer than gram do anywhere.
func (l *lookup) find(text []int32) (place, length int) {
	n := len(text)
	p := int(l.before[n])
	for probes := 0; p > 0 && length < maxMatch && probes < maxProbes; probes++ {
		same := 0
		for same < min(p, maxMatch) && text[p-1-same] == text[n-1-same] {
			same++
		}
		if same >= gram && same > length {
			place, length = p, same
		}
		p = int(l.before[p])
	}
	return place, length
}

// follow fills dst with what followed a place, and, where that reaches the end
// of the text, goes on with what it has copied: a text that repeats itself is
// taken to repeat itself again.
func follow(dst, text []int32, place int) {
	for i := range dst {
		if place+i < len(text) {
			dst[i] = text[place+i]
		} else {
			dst[i] = dst[place+i-len(text)]
		}
	}
}
