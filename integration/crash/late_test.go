// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package crash_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/containerd/containerd/v2/core/mount"
)

// Mounts that are held back: a client takes them, the storage moves, and only then they are made. The daemon may have died in
// between, which the client does not notice.

// heldFile is where a client keeps mounts that it took, by their keys. It outlives the daemon.
func (w *world) heldFile() string { return w.root + ".held" }

// heldBack returns the mounts that a client took and has not made, by their keys.
func (w *world) heldBack() (held map[string][]mount.Mount, err error) {
	data, err := os.ReadFile(w.heldFile())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &held)
	}
	return held, err
}

// takeMounts has a client take the mounts of its key, and do nothing with them.
func takeMounts(own string) step {
	return step{name: "take mounts of " + own, do: func(ctx context.Context, w *world) error {
		mounts, err := w.Mounts(ctx, key(own))
		if err != nil {
			return err
		}
		data, err := json.Marshal(map[string][]mount.Mount{key(own): mounts})
		if err != nil {
			return err
		}
		return writeSynced(w.heldFile(), data)
	}}
}

// writeSynced writes a file that a power cut leaves whole or not at all.
func writeSynced(path string, data []byte) error {
	f, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// mountLate makes the mounts that were taken before the storage moved. What would be written there would be hidden: they must
// fail.
func mountLate(own string) step {
	return step{name: "mount " + own + " late", do: func(_ context.Context, w *world) error {
		held, err := w.heldBack()
		if err != nil || held == nil { // none: it was done already
			return err
		}
		var came bool
		// That it fails is what is asked for.
		_ = w.at(w.placeOf(key(own)), held[key(own)], func(string) error { came = true; return nil })
		if came {
			return fmt.Errorf("mounts of %s that were taken before its storage moved can be made: %v", own, held[key(own)])
		}
		return os.Remove(w.heldFile())
	}}
}
