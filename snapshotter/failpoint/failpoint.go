// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package failpoint marks the moments between the steps of a change on disk, so that tests can have the process die
// there.
//
// Without the build tag failpoints nothing happens at any of them. With it, MOLT_FAILPOINT=name:N kills the process
// with SIGKILL when it comes to that moment for the Nth time, and MOLT_FAILPOINT_TRACE=file appends the name of each
// moment that it comes to.
package failpoint

// Point is a moment between two steps.
type Point string

// The points, in the order in which a change comes to them.
const (
	// WorkWithdrawn: the work directory of an open node is renamed away, to find out whether the node is in use.
	WorkWithdrawn Point = "work-withdrawn"
	// UseAsked: the kernel was asked whether an open node is in use, and what that left in the node is still there.
	UseAsked Point = "use-asked"
	// WorkRenewed: the work directory that was renamed away is deleted, and an empty one is in its place.
	WorkRenewed Point = "work-renewed"
	// WorkDropped: the work directory of a node that is, or is about to be, frozen is deleted.
	WorkDropped Point = "work-dropped"
	// NodeStaged: the directory of a new node is made, with nothing in it.
	NodeStaged Point = "node-staged"
	// NodeWritten: the content of a new node is complete in staging.
	NodeWritten Point = "node-written"
	// NodeSealed: what overlayfs keeps for itself is stripped from a node that is about to be frozen.
	NodeSealed Point = "node-sealed"
	// NodePublished: a new node is at its final place, perhaps not on disk.
	NodePublished Point = "node-published"
	// NodeSynced: all that a change refers to is on disk.
	NodeSynced Point = "node-synced"
	// ReportWritten: a report is written, which nothing refers to yet.
	ReportWritten Point = "report-written"
	// UpdateStaged: the side effects of an update on a storage are on disk, and the transaction that switches to them,
	// or keeps them ready, is next.
	UpdateStaged Point = "update-staged"
	// GraphCommitted: the change of the graph is in the database.
	GraphCommitted Point = "graph-committed"
	// RecordWritten: one of the records beside the database is written, others may not be.
	RecordWritten Point = "record-written"
	// RecordsWritten: the records beside the database say what the database says.
	RecordsWritten Point = "records-written"
	// RehomeBegun: the intent to re-home a container is on record.
	RehomeBegun Point = "rehome-begun"
	// RehomeLeased: what a re-homing needs is kept by a lease of containerd's.
	RehomeLeased Point = "rehome-leased"
	// RehomeRemoved: the key of a container that is re-homed is removed at containerd.
	RehomeRemoved Point = "rehome-removed"
	// RehomePrepared: the key is prepared on the new base.
	RehomePrepared Point = "rehome-prepared"
	// RehomeWritten: containerd's record of the container names the new base.
	RehomeWritten Point = "rehome-written"
	// NodeTrashed: the directory of a node that nothing needs is out of the way, with all its content.
	NodeTrashed Point = "node-trashed"
	// TrashSwept: one directory in the trash is deleted.
	TrashSwept Point = "trash-swept"
)

// Names returns the names of all points.
func Names() []string {
	return []string{
		string(WorkWithdrawn), string(UseAsked), string(WorkRenewed), string(WorkDropped),
		string(NodeStaged), string(NodeWritten), string(NodeSealed), string(NodePublished), string(NodeSynced),
		string(ReportWritten), string(UpdateStaged), string(GraphCommitted), string(RecordWritten),
		string(RecordsWritten),
		string(NodeTrashed), string(TrashSwept),
	}
}
