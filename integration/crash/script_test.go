// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package crash_test

import "strconv"

// script is the life of a node with some storages, in which everything happens that changes what is on disk.
func script() []step {
	steps := []step{
		layer("one", "", func(p *pen) { image(p, "1") }),
		layer("two", "one", func(p *pen) { image(p, "2") }),
		layer("three", "", func(p *pen) { image(p, "3") }),
		onDisk(),
	}
	all := []string{"a", "b", "c", "d", "e"}
	for _, name := range all {
		steps = append(steps, container("c"+name, "one", name))
	}
	for _, name := range all {
		steps = append(steps, write("c"+name, name, "at first", func(p *pen) { customise(p, name) }))
	}
	later := func(name, when string) step {
		return write("c"+name, name, when, func(p *pen) { goOn(p, name, when) })
	}
	steps = append(steps,
		update("one", "two", false, all...),
		later("a", "after the update"),
		later("b", "after the update"),
		rollback("one", false, "a", "c"),
		rollback("one", true, "b"),
		later("b", "after the rollback"),
		update("one", "three", true, "a", "b"),
		fork("d", "f"),
		container("cf", "two", "f"),
		later("f", "after the fork"),
		removeKey("cd"),
		container("cd", "three", "d"), // an update by binding
		later("d", "after the update"),
		removeKey("cd"),
		container("cd", "two", "d"), // and back again
		removeKey("ce"),
		removeStorage("e"),
	)
	steps = append(steps, manyUpdates("c", later)...)
	return append(steps, deltaLayers()...)
}

// manyUpdates are more updates of a storage than states of it are kept, so that its nodes are merged.
func manyUpdates(name string, later func(name, when string) step) (steps []step) {
	base := "one"
	for n := range 4 {
		next := []string{"three", "two"}[n%2]
		steps = append(steps, update(base, next, false, name), later(name, "after move "+strconv.Itoa(n)))
		base = next
	}
	return append(steps, mergeStorage(name, 7))
}

// deltaLayers are delta layers that are merged because nothing stands on them but each other, while they are below a storage.
func deltaLayers() (steps []step) {
	below := "one"
	names := []string{"delta1", "delta2", "delta3"}
	for _, name := range names {
		steps = append(steps, layer(name, below, func(p *pen) {
			p.file("delta/"+name, name)
			p.file("delta/common", name)
			p.remove("usr/share/doc/readme")
			p.file("srv/one", name)
		}))
		below = name
	}
	steps = append(steps, onDisk(), container("cg", "one", "g"),
		write("cg", "g", "at first", func(p *pen) { customise(p, "g") }),
		update("one", "delta3", false, "g"), removeKey("cg"))
	for _, name := range []string{"delta3", "delta2", "delta1"} {
		steps = append(steps, removeKey(name))
	}
	return append(steps, mergeLayers("g", 2))
}
