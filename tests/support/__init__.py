"""What tests of the store and the data path are built from: model disks, targets, repositories, faults. No mocks."""
