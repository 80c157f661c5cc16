// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package binding

// NewContainers says where the storage of a new container begins whose base has an update in effect.
type NewContainers string

// The policies for new containers.
const (
	// BeginAsNamed has the storage begin on the base that the container names.
	BeginAsNamed NewContainers = "as-named"
	// BeginOnNewest has the storage begin, at the first start of the container, where the updates of that base lead.
	BeginOnNewest NewContainers = "newest"
)

// OnHold says what happens when a container asks for a base that its storage cannot be serviced for.
type OnHold string

// The policies for a held storage.
const (
	// RefuseStart refuses the start of the container, with the reasons.
	RefuseStart OnHold = "refuse"
	// StartOnOldBase starts the container on the base that its storage stands on.
	StartOnOldBase OnHold = "start-on-old-base"
)

// Rebind says which containers have their storage moved to the base that they ask for.
type Rebind string

// The policies of binding.
const (
	// RebindOnChange moves a storage when a container asks for another base than the last one did.
	RebindOnChange Rebind = "on-change"
	// RebindToSpec moves a storage whenever a container asks for another base than the storage stands on.
	RebindToSpec Rebind = "spec"
)

// RollbackPolicy says what happens when a storage is bound on a base that it stood on before.
type RollbackPolicy string

// The rollback policies.
const (
	// CarryOver rolls back and carries over what was written since.
	CarryOver RollbackPolicy = "carry"
	// Exact rolls back to the tree from before and sets aside what was written since.
	Exact RollbackPolicy = "exact"
	// Refuse refuses to bind the storage.
	Refuse RollbackPolicy = "refuse"
)
