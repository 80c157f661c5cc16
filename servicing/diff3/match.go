// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package diff3

// The bounds on the work of one comparison: how many lines are inserted and deleted, and that times the lines there
// are.
const (
	maxEdits = 2000
	maxCost  = 100_000_000
)

// match is a line of o that is the same as a line of a side.
type match struct{ o, side int }

// certain returns the matches that are in every longest common subsequence of o and side, in order. The rest is
// ambiguous or changed. It reports false when the two differ in more than maxEdits lines.
//
// It runs Myers' greedy algorithm ("An O(ND) Difference Algorithm and Its Variations", 1986) from both ends. The two
// tables tell for each match whether it is on a shortest path through the edit graph. Every longest common subsequence
// has one match of each rank (the first, the second, ...): a match is certain if no other has its rank.
func certain(o, side []int) ([]match, bool) {
	forward, ok := paths(o, side)
	if !ok {
		return nil, false
	}
	backward, ok := paths(reversed(o), reversed(side))
	if !ok {
		return nil, false
	}
	edits := len(forward) - 1
	count := make([]int, (len(o)+len(side)-edits)/2)
	first := make([]match, len(count))
	for d := range forward {
		for k := -d; k <= d; k += 2 {
			// The matches on diagonal k that d edits lead to and from which the other edits lead to the end.
			from := len(o) - 1 - backward.reach(edits-d, len(o)-len(side)-k)
			for x := max(from, 0, k); x <= min(forward.reach(d, k), len(o)-1, len(side)-1+k); x++ {
				if y := x - k; o[x] == side[y] {
					rank := (x + y - d) / 2
					count[rank]++
					first[rank] = match{x, y}
				}
			}
		}
	}
	var out []match
	for rank, n := range count {
		if n == 1 {
			out = append(out, first[rank])
		}
	}
	return out, true
}

// table holds for each number of edits d and each diagonal k from -d to d how far into o a path with d edits can lead.
type table [][]int32

// reach looks up a diagonal; it is below every line where d edits do not lead to it.
func (t table) reach(d, k int) int {
	if k < -d || k > d {
		return -2
	}
	return int(t[d][k+d])
}

// paths fills the table up to the number of edits that leads to the end of both.
func paths(o, side []int) (table, bool) {
	var t table
	for d := 0; d <= maxEdits && d*(len(o)+len(side)) <= maxCost; d++ {
		t = append(t, make([]int32, 2*d+1))
		for k := -d; k <= d; k++ {
			t[d][k+d] = -2
		}
		for k := -d; k <= d; k += 2 {
			x := 0
			if d > 0 {
				x = max(t.reach(d-1, k-1)+1, t.reach(d-1, k+1))
			}
			if x < 0 || x > len(o) || x-k < 0 || x-k > len(side) {
				continue
			}
			for x < len(o) && x-k < len(side) && o[x] == side[x-k] {
				x++
			}
			t[d][k+d] = int32(x)
			if x == len(o) && x-k == len(side) {
				return t, true
			}
		}
	}
	return nil, false
}
