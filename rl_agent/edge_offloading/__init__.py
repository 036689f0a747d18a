"""The paper's edge offloading model: tasks arrive in slots, every server may take any of them."""
