// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package crash_test

import "strconv"

// script is the life of a node on which several clients are at work at once, each with storages of its own. Everything happens
// in it that changes what is on disk.
func script() []step {
	one := layer("one", "", func(p *pen) { image(p, "1") })
	two := onTop(one, layer("two", "one", func(p *pen) { image(p, "2") }))
	three := layer("three", "", func(p *pen) { image(p, "3") })
	base := layer("base", "", func(p *pen) { image(p, "1") })
	steps := []step{together(one, three, base), two, onDisk(one, two, three, base)}
	steps = append(steps, abreast(twoStorages("a", "b"), oftenMoved("c"), forked("d", "f"), removed("e"), slow("h"), withdrawing("w"),
		committing("s", "base", "next"))...)
	steps = append(steps, mergeStorage("c", 7))
	steps = append(steps, abreast(deltaLayers(), []step{later("a", "while layers are pulled"), later("a", "once more")})...)
	return append(steps, onDeltaLayers("g")...)
}

// begun is how the storage of a client begins.
func begun(name string) []step { return begunOn("one", name) }

func begunOn(base, name string) []step {
	return []step{
		container("c"+name, base, name),
		write("c"+name, name, "at first", func(p *pen) { customise(p, name) }),
	}
}

// later has a client write once more.
func later(name, when string) step {
	return write("c"+name, name, when, func(p *pen) { goOn(p, name, when) })
}

// twoStorages are updated one by one, rolled back each in its way, and updated together.
func twoStorages(a, b string) []step {
	return append(abreast(begun(a), begun(b)),
		update("one", "two", false, a, b),
		together(later(a, "after the update"), later(b, "after the update")),
		together(rollback("one", false, a), rollback("one", true, b)),
		later(b, "after the rollback"),
		update("one", "three", true, a, b),
	)
}

// forked is a storage that is forked, and one that moves when its container is made again on another base, and back again.
func forked(name, copied string) []step {
	key := "c" + name
	return append(begun(name),
		update("one", "two", false, name),
		fork(name, copied),
		together(removeKey(key), container("c"+copied, "two", copied)),
		together(container(key, "three", name), later(copied, "after the fork")),
		later(name, "after the update"),
		removeKey(key),
		container(key, "two", name),
	)
}

// removed is a storage that is removed.
func removed(name string) []step {
	return append(begun(name), update("one", "two", false, name), removeKey("c"+name), removeStorage(name))
}

// oftenMoved is a storage with more updates than states of it are kept, so that its nodes are merged.
func oftenMoved(name string) []step {
	steps := append(begun(name), update("one", "two", false, name), rollback("one", false, name))
	base := "one"
	for n := range 4 {
		next := []string{"three", "two"}[n%2]
		steps = append(steps, update(base, next, false, name), later(name, "after move "+strconv.Itoa(n)))
		base = next
	}
	return steps
}

// slow is a client whose starts take longer than the grace: the storage moves in the meantime.
func slow(name string) []step {
	return append(begun(name),
		takeMounts("c"+name), update("one", "two", false, name), mountLate("c"+name),
		later(name, "after the update"),
		takeMounts("c"+name), rollback("one", true, name), mountLate("c"+name),
		later(name, "after the rollback"),
	)
}

// withdrawing is a client that changes its mind while an update waits.
func withdrawing(name string) []step {
	return append(begun(name),
		update("one", "two", false, name), rollback("one", false, name),
		withdraw("c"+name, name, "one", "two", "cancel", byCancel),
		withdraw("c"+name, name, "one", "two", "rollback", byRollback),
		later(name, "after that"),
		update("one", "three", false, name), later(name, "after the update"),
	)
}

// committing is a client that does nothing but commit a layer, and then asks for the update that this is. Once something is
// written in the storage before that.
func committing(name, base, next string) []step {
	return append(begunOn(base, name),
		commitUpdate(next, base, name, func(p *pen) { image(p, "2") }), applyUpdate(next, base, name),
		later(name, "after the update"),
		commitUpdate(next+"2", next, name, func(p *pen) { image(p, "3") }), later(name, "after it was staged"), applyUpdate(next+"2", next, name),
	)
}

// deltaLayers pulls layers of which each stands on the one before.
func deltaLayers() (steps []step) {
	below := "one"
	for i, name := range []string{"delta1", "delta2", "delta3"} {
		next := layer(name, below, func(p *pen) {
			p.file("delta/"+name, name)
			p.file("delta/common", name)
			p.remove("usr/share/doc/readme")
			p.file("srv/one", name)
		})
		if i > 0 {
			next = onTop(steps[i-1], next)
		}
		steps = append(steps, next)
		below = name
	}
	return append(steps, onDisk(steps...))
}

// onDeltaLayers is a storage on delta layers that are merged, because nothing stands on them but each other.
func onDeltaLayers(name string) []step {
	return append(begun(name), update("one", "delta3", false, name), removeKey("c"+name),
		removeKey("delta3"), removeKey("delta2"), removeKey("delta1"), mergeLayers(name, 2))
}
