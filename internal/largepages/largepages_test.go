package largepages

import "testing"

func TestAlloc(t *testing.T) {
	for _, n := range []int{0, 1, 7, least - 1, least, least + 1, 3*least + 511} {
		words, err := Alloc(n)
		if err != nil {
			t.Fatal(err)
		}
		if len(words) != n {
			t.Fatalf("Alloc(%d) returned %d words", n, len(words))
		}
		for i, w := range words {
			if w != 0 {
				t.Fatalf("word %d of %d is %#x, want 0", i, n, w)
			}
			words[i] = uint64(i)
		}
		for i, w := range words {
			if w != uint64(i) {
				t.Fatalf("word %d of %d is %d", i, n, w)
			}
		}
		if err := Free(words); err != nil {
			t.Errorf("Free of %d words: %v", n, err)
		}
	}
}
