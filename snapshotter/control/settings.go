// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"fmt"
	"io"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"

	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// ConfigureStorage changes what servicing is told for a storage.
func (s *Service) ConfigureStorage(
	req *api.ConfigureStorageRequest, stream streamOf[api.ConfigureStorageResponse],
) error {
	full, err := s.lookup.resolve(stream.Context(), req.GetName())
	if err != nil {
		return errgrpc.ToGRPC(err)
	}
	var missing error
	options, err := s.snapshotter.Settings().Configure(stream.Context(), full, func(o *servicing.Options) {
		for _, path := range req.GetUnpin() {
			before := len(o.Pins)
			o.Pins = slices.DeleteFunc(o.Pins, func(p servicing.Pin) bool { return p.Path == path })
			if len(o.Pins) == before {
				missing = fmt.Errorf("%q is not pinned: %w", path, errdefs.ErrNotFound)
			}
		}
		*o = servicing.Options{Policy: policy(req.GetPolicy()), Pins: pins(req.GetPin())}.Over(*o)
		for kind, action := range req.GetPolicy() {
			if action == "" {
				delete(o.Policy, servicing.Concern(kind))
			}
		}
	})
	if err == nil {
		err = missing
	}
	if err != nil {
		return errgrpc.ToGRPC(err)
	}
	return sendDocument(stream, func(data []byte) *api.ConfigureStorageResponse {
		return &api.ConfigureStorageResponse{Options: data}
	}, func(w io.Writer) error { return encode(w, options) })
}

func policy(given map[string]string) servicing.Policy {
	p := servicing.Policy{}
	for kind, action := range given {
		if action != "" {
			p[servicing.Concern(kind)] = servicing.Action(action)
		}
	}
	return p
}

func pins(given []*api.Pin) []servicing.Pin {
	return each(given, func(p *api.Pin) servicing.Pin {
		pin := servicing.Pin{Path: p.GetPath(), Reason: p.GetReason()}
		if p.GetExpires() != nil {
			pin.Expires = p.GetExpires().AsTime()
		}
		return pin
	})
}
