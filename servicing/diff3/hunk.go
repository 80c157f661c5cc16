// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package diff3

// hunk is a place of o that a side changed: lines start to end of o became lines sideStart to sideEnd of the side.
type hunk struct {
	start, end         int
	sideStart, sideEnd int
}

// grown is by how many lines the hunk made the side longer.
func (h hunk) grown() int { return (h.sideEnd - h.sideStart) - (h.end - h.start) }

// hunks returns what lies between the certain matches of o and a side, in order.
func hunks(o, side []int) ([]hunk, bool) {
	matches, ok := certain(o, side)
	if !ok {
		return nil, false
	}
	var out []hunk
	next := match{}
	for _, m := range append(matches, match{len(o), len(side)}) {
		if m != next {
			out = append(out, hunk{start: next.o, end: m.o, sideStart: next.side, sideEnd: m.side})
		}
		next = match{m.o + 1, m.side + 1}
	}
	return out, true
}

// region is a range of o, lo to hi, with all the changes in it. Its ends lie outside every hunk, or at the edge of
// one, so that each side has a range that corresponds to it.
type region struct {
	lo, hi int
	a, b   span
}

// span is the range of a side that corresponds to a region.
type span struct {
	from, to int
	changed  bool // a hunk of this side is in the region
}

// regions groups the hunks of two sides: hunks that overlap or touch belong together.
func regions(a, b []hunk) []region {
	var out []region
	var grownA, grownB int // lines by which the sides are longer than o so far
	for len(a) > 0 || len(b) > 0 {
		fromA := len(b) == 0 || len(a) > 0 && a[0].start <= b[0].start
		next := &b
		if fromA {
			next = &a
		}
		h := (*next)[0]
		*next = (*next)[1:]
		if last := len(out) - 1; last < 0 || h.start > out[last].hi {
			out = append(out, region{lo: h.start, hi: h.end, a: span{from: h.start + grownA},
				b: span{from: h.start + grownB}})
		}
		r := &out[len(out)-1]
		r.hi = max(r.hi, h.end)
		if fromA {
			r.a.changed = true
			grownA += h.grown()
		} else {
			r.b.changed = true
			grownB += h.grown()
		}
		r.a.to, r.b.to = r.hi+grownA, r.hi+grownB
	}
	return out
}
