"""The paper's edge offloading model: tasks arrive in slots, and any server may take any task."""
