// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package updates

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
)

// Settings are the options of servicing, for all storages and for each.
type Settings struct {
	state     *state.State
	ageing    *state.Ageing
	servicing servicing.Options
}

// Of returns what servicing is told for a storage alone.
func (s *Settings) Of(storage string) (servicing.Options, error) {
	var st dag.Storage
	ok := false
	s.state.Graph(func(g *dag.Graph) { st, ok = g.Storage(storage) })
	if !ok {
		return servicing.Options{}, fmt.Errorf("storage %q: %w", storage, errdefs.ErrNotFound)
	}
	return readOptions(st.Settings)
}

// Configure changes what servicing is told for a storage alone. It fails with errdefs.ErrInvalidArgument for options
// that mean nothing, and then changes nothing.
func (s *Settings) Configure(
	ctx context.Context, storage string, change func(*servicing.Options),
) (o servicing.Options, err error) {
	err = s.state.Locked(ctx, storage, func(st dag.Storage) error {
		if o, err = readOptions(st.Settings); err != nil {
			return err
		}
		change(&o)
		settings, err := writeOptions(o)
		if err != nil {
			return err
		}
		return s.state.Do(dag.Configure{Storage: storage, Settings: settings})
	})
	return o, err
}

// For returns what servicing is told: for the update, over what it is for the storage, over the configuration.
func (s *Settings) For(st dag.Storage, update json.RawMessage) (servicing.Options, error) {
	forUpdate, err := readOptions(update)
	if err != nil {
		return forUpdate, err
	}
	forStorage, err := readOptions(st.Settings)
	if err != nil {
		return forStorage, err
	}
	o := forUpdate.Over(forStorage).Over(s.servicing)
	m := s.ageing.Moment()
	o.Now, o.Wall = m.Sure, m.Wall
	return o, nil
}

func readOptions(settings json.RawMessage) (o servicing.Options, err error) {
	if len(settings) == 0 {
		return o, nil
	}
	if err := json.Unmarshal(settings, &o); err != nil {
		return o, fmt.Errorf("read options: %w", err)
	}
	return o, nil
}

func writeOptions(o servicing.Options) (json.RawMessage, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	settings, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("write options: %w", err)
	}
	if string(settings) == "{}" {
		return nil, nil
	}
	return settings, nil
}

// Expiries returns what finds out when the options of a storage end: those for all storages, and those in its settings.
func Expiries(forAll servicing.Options) func(settings json.RawMessage) []time.Time {
	return func(settings json.RawMessage) (all []time.Time) {
		pins := forAll.Pins
		if own, err := readOptions(settings); err == nil { // else it is told when they are needed
			pins = slices.Concat(pins, own.Pins)
		}
		for _, p := range pins {
			if !p.Expires.IsZero() {
				all = append(all, p.Expires)
			}
		}
		return all
	}
}
