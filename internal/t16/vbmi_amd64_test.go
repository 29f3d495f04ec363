//go:build !purego

package t16

import "testing"

// The table that the assembly permutes has the first four digits of each byte below 128, among them the remainders
// 81..93 of the bytes that are no number.
func TestFourCrumbs(t *testing.T) {
	for b, crumbs := range fourCrumbs {
		for c := range 4 {
			if got, want := crumbs>>(2*c)&3, trit(byte(b), c); got != want {
				t.Errorf("byte %d: digit %d is %d, want %d", b, c, got, want)
			}
		}
	}
}
